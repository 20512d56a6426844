/*
 * driver.c: plays inputs to a target without libFuzzer: the given files, then random changes of
 * them, COUNT inputs in all, the same ones in each run.
 *
 *     TARGET COUNT FILE...
 *
 * An input that crashes the program stays in the file `crash-input` of the working directory.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MOST  4096 /* bytes of an input */
#define SEEDS 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct seed {
    size_t length;
    uint8_t bytes[MOST];
} seeds[SEEDS], *input; /* mapped from a file, which survives a crash */

static size_t count;

static size_t below(size_t limit)
{
    return limit > 0 ? (size_t)random() % limit : 0;
}

static void read_seed(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file || count == SEEDS) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    seeds[count].length = fread(seeds[count].bytes, 1, MOST, file);
    count++;
    fclose(file);
}

/* Replaces `removed` bytes by others; the end is cut off at the limit. */
static void put_in(size_t at, size_t removed, const uint8_t *bytes, size_t length)
{
    uint8_t tail[MOST];
    size_t rest = input->length - at - removed;
    memcpy(tail, input->bytes + at + removed, rest);
    length = length < MOST - at ? length : MOST - at;
    rest = rest < MOST - at - length ? rest : MOST - at - length;
    memcpy(input->bytes + at, bytes, length);
    memcpy(input->bytes + at + length, tail, rest);
    input->length = at + length + rest;
}

static void change(void)
{
    const struct seed *other = &seeds[below(count)];
    size_t at = below(input->length + 1), from = below(other->length + 1);
    size_t left = input->length - at;
    uint8_t byte = (uint8_t)random();
    switch (random() % 4) {
    case 0: /* replace a byte */
        put_in(at, left > 0, &byte, 1);
        break;
    case 1: /* remove some bytes */
        put_in(at, below(left < 16 ? left + 1 : 16), &byte, 0);
        break;
    case 2: /* insert a part of another input */
        put_in(at, 0, other->bytes + from, below(other->length - from + 1));
        break;
    default: /* insert a byte with a meaning */
        put_in(at, 0, (const uint8_t *)"\0\1\n\r /:#\x80\xC3\xE2\xED\xF0\xFF-9" + random() % 16, 1);
    }
}

int main(int argc, char **argv)
{
    int file = open("crash-input", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (int i = 2; i < argc; i++)
        read_seed(argv[i]);
    if (argc < 3 || file < 0 || ftruncate(file, sizeof *input) < 0) {
        fprintf(stderr, "usage: %s COUNT FILE...\n", *argv);
        return 2;
    }
    input = mmap(NULL, sizeof *input, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    for (long i = 0, inputs = atol(argv[1]); i < inputs; i++) {
        *input = seeds[(size_t)i % count];
        for (size_t changes = (size_t)i < count ? 0 : 1 + below(8); changes > 0; changes--)
            change();
        LLVMFuzzerTestOneInput(input->bytes, input->length);
    }
    unlink("crash-input");
    return 0;
}
