/* uses.h - which ops and functions are built: all, or those that a header of one model lists, named by REGROW_USES. */
#ifndef REGROW_USES_H
#define REGROW_USES_H
#if defined(REGROW_USES)
#include REGROW_USES
#else
enum {
#define X(name) USES_OP_##name = 1,
    REGROW_OPS(X)
#undef X
#define X(name) USES_MAP_##name = 1,
    REGROW_MAPS(X) REGROW_MAPS_BACK(X)
#undef X
#define X(name) USES_BINARY_##name = 1,
    REGROW_BINARIES(X)
#undef X
};
#endif
#endif
