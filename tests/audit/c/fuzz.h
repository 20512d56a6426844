/*
 * fuzz.h: shared by all targets. A target includes this, then the whole program, whose functions it
 * calls.
 *
 * libFuzzer calls LLVMFuzzerTestOneInput with each input; without clang, driver.c does.
 */
#define _GNU_SOURCE
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Aborts if a condition is false; the report of the sanitizer shows the place. */
#define HOLDS(condition) ((condition) ? (void)0 : abort())

/* The target of the program's `exit`, and the status. */
static jmp_buf ended;
static int exit_status;

static _Noreturn void end_program(int status)
{
    exit_status = status;
    longjmp(ended, 1);
}

/* The input, which a target reads piece by piece. */
struct input {
    const uint8_t *next;
    size_t left;
};

static unsigned take_byte(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->next++;
}

/* The next bytes, at most `most`; returns their number. */
static size_t take_bytes(struct input *input, size_t most, const char **bytes)
{
    size_t length = most < input->left ? most : input->left;
    *bytes = (const char *)input->next;
    input->next += length;
    input->left -= length;
    return length;
}

#define main program_main
#define exit end_program
