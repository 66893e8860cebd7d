/* startup.c - a Cortex-M from reset to main, with its output through the debugger (semihosting), as QEMU has it. */
#include <errno.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

extern uint32_t stack_top[], stack_limit[], data_from[], data_start[], data_end[], bss_start[], bss_end[];
extern char heap_start[], heap_end[];

int main(void);
void Reset_Handler(void);

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026 };
#define PAINT 0xa5a5a5a5u

static void semihost(uint32_t operation, const void *argument)
{
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}

void _exit(int code)
{
    const uint32_t block[] = {APPLICATION_EXIT, (uint32_t)code};
    semihost(SYS_EXIT_EXTENDED, block);
    for (;;) {
    }
}

static void Fault_Handler(void) { _exit(111); }

__attribute__((section(".vectors"), used)) static void *const vectors[16] = {
    stack_top,     Reset_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, Fault_Handler, 0, 0, 0, 0, Fault_Handler,
    Fault_Handler, 0,             Fault_Handler, Fault_Handler};

/* The deepest the stack ever was, in bytes. */
uint32_t stack_used(void);
uint32_t stack_used(void)
{
    const uint32_t *p = stack_limit;
    while (p < stack_top && *p == PAINT) p++;
    return (uint32_t)((uintptr_t)stack_top - (uintptr_t)p);
}

void Reset_Handler(void)
{
    /* Coprocessors 10 and 11 are the floating point unit, and the vectors of an M55. */
    *(volatile uint32_t *)0xe000ed88 |= 0xfu << 20;
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    uint32_t *here = (uint32_t *)__builtin_frame_address(0) - 16;
    for (uint32_t *p = stack_limit; p < here; p++) *(volatile uint32_t *)p = PAINT;
    for (uint32_t *p = data_start, *q = data_from; p < data_end; p++, q++) *(volatile uint32_t *)p = *q;
    for (uint32_t *p = bss_start; p < bss_end; p++) *(volatile uint32_t *)p = 0;
    _exit(main());
}

/* What newlib's printf asks for. */
int _write(int file, const char *data, int count);
int _write(int file, const char *data, int count)
{
    char line[65];
    (void)file;
    for (int done = 0; done < count;) {
        int some = 0;
        while (some < 64 && done < count) line[some++] = data[done++];
        line[some] = 0;
        semihost(SYS_WRITE0, line);
    }
    return count;
}

void *_sbrk(ptrdiff_t more);
void *_sbrk(ptrdiff_t more)
{
    static char *end;
    if (!end) end = heap_start;
    char *old = end;
    if (more > heap_end - end) return (void *)-1;
    end += more;
    return old;
}

int _read(int file, char *data, int count);
int _read(int file, char *data, int count)
{
    (void)file, (void)data, (void)count;
    return 0;
}

int _close(int file);
int _close(int file)
{
    (void)file;
    return -1;
}

int _isatty(int file);
int _isatty(int file)
{
    (void)file;
    return 1;
}

int _fstat(int file, struct stat *to);
int _fstat(int file, struct stat *to)
{
    (void)file;
    to->st_mode = S_IFCHR;
    return 0;
}

int _lseek(int file, int at, int from);
int _lseek(int file, int at, int from)
{
    (void)file, (void)at, (void)from;
    return 0;
}

int _getpid(void);
int _getpid(void) { return 1; }

int _kill(int process, int signal);
int _kill(int process, int signal)
{
    (void)process, (void)signal;
    errno = EINVAL;
    return -1;
}
