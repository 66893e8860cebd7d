/* pointwise.c - functions of one number and their gradients. On a kink each takes the side the program's reference does. */

enum {
#define X(name) MAP_##name,
    REGROW_MAPS(X)
#undef X
};
enum {
#define X(name) MAP_##name,
    REGROW_MAPS_BACK(X)
#undef X
};

#define TANH_SCALE 0.7978845608028654f /* sqrt(2 / pi), of the tanh form of gelu */
#define TANH_CUBE 0.044715f
#define ROOT_HALF 0.7071067811865476f
#define DENSITY 0.3989422804014327f /* of the normal distribution at 0 */

INLINE float logistic(float x) { return 0.5f * tanhf(0.5f * x) + 0.5f; }
INLINE float clamp(float x, float low, float high) { return x < low ? low : x > high ? high : x; }

static float softplus(float x, float beta, float threshold)
{
    float s = beta * x;
    if (s > threshold) return x;
    return ((s > 0 ? s : 0.0f) + log1pf(expf(s > 0 ? -s : s))) / beta;
}

static float gelu_tanh_back(float dy, float x)
{
    float t = tanhf(TANH_SCALE * (x + TANH_CUBE * x * x * x));
    return dy * (0.5f * (1 + t) + 0.5f * x * (1 - t * t) * TANH_SCALE * (1 + 3 * TANH_CUBE * x * x));
}

static float silu_back(float dy, float x)
{
    float s = logistic(x);
    return dy * s * (1 + x * (1 - s));
}

#define EACH(name, hint, expression)                  \
    case MAP_##name:                                  \
        if (!USES_MAP_##name) return REGROW_E_OP;     \
        hint for (size_t i = 0; i < count; i++) {     \
            float v = x[i];                           \
            y[i] = (expression);                      \
        }                                             \
        return REGROW_OK;

/* function, y, x, count, two numbers.  y may be x. */
static regrow_status op_map(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(6);
    TAKE(float, y, w[1], w[3]);
    TAKE(const float, x, w[2], w[3]);
    size_t count = w[3];
    float p = as_float(w[4]), q = as_float(w[5]);
    switch (w[0]) {
        EACH(identity, LANEWISE, v)
        EACH(relu, LANEWISE, v < 0 ? 0.0f : v)
        EACH(leaky_relu, LANEWISE, v > 0 ? v : v * p)
        EACH(tanh, , tanhf(v))
        EACH(sigmoid, , logistic(v))
        EACH(silu, , v *logistic(v))
        EACH(hardsigmoid, LANEWISE, clamp(v / 6 + 0.5f, 0, 1))
        EACH(hardswish, , v *clamp(v / 6 + 0.5f, 0, 1))
        EACH(elu, , v > 0 ? v : p *expm1f(v))
        EACH(softplus, , softplus(v, p, q))
        EACH(gelu, , 0.5f * v * (1 + erff(v * ROOT_HALF)))
        EACH(gelu_tanh, , 0.5f * v * (1 + tanhf(TANH_SCALE * (v + TANH_CUBE * v * v * v))))
        EACH(exp, , expf(v))
        EACH(log, , logf(v))
        EACH(sqrt, , sqrtf(v))
        EACH(abs, LANEWISE, fabsf(v))
        EACH(sign, , v > 0 ? 1.0f : v < 0 ? -1.0f : v)
        EACH(clip, LANEWISE, clamp(v, p, q))
        EACH(neg, LANEWISE, -v)
    default: return REGROW_E_WORDS;
    }
}

#undef EACH
#define EACH(name, hint, expression)                  \
    case MAP_##name:                                  \
        if (!USES_MAP_##name) return REGROW_E_OP;     \
        hint for (size_t i = 0; i < count; i++) {     \
            float g = dy[i], v = x[i];                \
            dx[i] = (expression);                     \
        }                                             \
        return REGROW_OK;

/* function, dx, dy, x (or y, where the forward's output is cheaper to keep), count, two numbers, closed. */
static regrow_status op_map_back(const machine *m, const uint32_t *w, uint32_t n)
{
    WORDS(8);
    TAKE(float, dx, w[1], w[4]);
    TAKE(const float, dy, w[2], w[4]);
    TAKE(const float, x, w[3], w[4]);
    size_t count = w[4];
    float p = as_float(w[5]), q = as_float(w[6]);
    int closed = w[7] != 0;
    switch (w[0]) {
        EACH(relu_back, LANEWISE, v > 0 ? g : 0.0f)
        EACH(leaky_relu_back, LANEWISE, v > 0 ? g : g * p)
        EACH(tanh_back, LANEWISE, g * (1 - v * v))
        EACH(sigmoid_back, LANEWISE, g *v * (1 - v))
        EACH(silu_back, , silu_back(g, v))
        EACH(hardsigmoid_back, LANEWISE, fabsf(v) < 3 ? g * (1.0f / 6) : 0.0f)
        EACH(hardswish_back, , v <= -3 ? 0.0f : v < 3 ? g * (v / 3 + 0.5f) : g)
        EACH(elu_back, , v > 0 ? g : g * (v + p))
        EACH(softplus_back, , p *v > q ? g : g * logistic(p * v))
        EACH(gelu_back, , g * (0.5f * (1 + erff(v * ROOT_HALF)) + v * DENSITY * expf(-0.5f * v * v)))
        EACH(gelu_tanh_back, , gelu_tanh_back(g, v))
        EACH(clip_back, LANEWISE, (closed ? v >= p && v <= q : v > p && v < q) ? g : 0.0f)
    default: return REGROW_E_WORDS;
    }
}
#undef EACH

INLINE int64_t to_int64(float v)
{
    /* The conversion of what does not fit is undefined in C. */
    return v >= 9.2233720368547758e18f ? INT64_MAX : v > -9.2233720368547758e18f ? (int64_t)v : INT64_MIN;
}

enum { TYPE_FLOAT, TYPE_INT64, TYPE_BYTE }; /* a truth value is a byte */

/* to, from, y, x, count. */
static regrow_status op_cast(const machine *m, const uint32_t *w, uint32_t n)
{
    static const uint32_t SIZE[] = {4, 8, 1};
    WORDS(5);
    if (w[0] > TYPE_BYTE || w[1] > TYPE_BYTE) return REGROW_E_WORDS;
    void *y = at(m, w[2], w[4], SIZE[w[0]]);
    const void *x = at(m, w[3], w[4], SIZE[w[1]]);
    if (!y || !x) return REGROW_E_BOUNDS;
    size_t count = w[4];
#define CONVERT(to, TO, from, FROM, expression)                                   \
    if (w[0] == (to) && w[1] == (from)) {                                         \
        for (size_t i = 0; i < count; i++) {                                      \
            FROM v = ((const FROM *)x)[i];                                        \
            ((TO *)y)[i] = (expression);                                          \
        }                                                                         \
        return REGROW_OK;                                                         \
    }
    CONVERT(TYPE_FLOAT, float, TYPE_FLOAT, float, v)
    CONVERT(TYPE_FLOAT, float, TYPE_INT64, int64_t, (float)v)
    CONVERT(TYPE_FLOAT, float, TYPE_BYTE, uint8_t, (float)v)
    CONVERT(TYPE_INT64, int64_t, TYPE_FLOAT, float, to_int64(v))
    CONVERT(TYPE_INT64, int64_t, TYPE_INT64, int64_t, v)
    CONVERT(TYPE_INT64, int64_t, TYPE_BYTE, uint8_t, (int64_t)v)
    CONVERT(TYPE_BYTE, uint8_t, TYPE_FLOAT, float, v != 0)
    CONVERT(TYPE_BYTE, uint8_t, TYPE_INT64, int64_t, v != 0)
    CONVERT(TYPE_BYTE, uint8_t, TYPE_BYTE, uint8_t, v != 0)
#undef CONVERT
    return REGROW_E_WORDS;
}
