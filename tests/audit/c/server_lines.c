/*
 * Input of a connection: the lines, and the error for each, depend only on the bytes, not on the
 * size of the reads; glibc's decoder agrees with the server's.
 *
 * Input: the size of the reads, then the bytes. 0xFF, n, c stands for 16 * n times c.
 */
#include "fuzz.h"

#include "../../../servers/c/server.c"

#include <locale.h>
#include <wchar.h>

#define MOST_SENT   (32 * 1024)
#define MOST_PIECES 16

struct text {
    size_t length;
    char bytes[4 * MOST_SENT];
};

static struct text sent, at_once, in_pieces;

static void note(struct text *text, const void *bytes, size_t length)
{
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static void unfold(struct input *input)
{
    for (sent.length = 0; input->left > 0 && sent.length < MOST_SENT - 16 * 256;) {
        unsigned byte = take_byte(input);
        size_t times = byte == 0xFF ? 16 * take_byte(input) : 1;
        memset(sent.bytes + sent.length, (int)(byte == 0xFF ? take_byte(input) : byte), times);
        sent.length += times;
    }
}

/* An own reading of FRAME-4 to FRAME-6: the first letter of the error after `! `, or `.`. */
static char verdict(const char *text, size_t length)
{
    bool has_control = false;
    wchar_t letter = 0;
    if (length > 1024)
        return 'l';
    for (size_t n; length > 0; text += n, length -= n) {
        n = mbrtowc(&letter, text, length, &(mbstate_t){0});
        if (n > length || letter > 0x10FFFF) /* the highest code point; glibc allows more */
            return 'n';
        n = MAX(n, 1); /* for a NUL, it returns 0 */
        has_control = has_control || (letter < 0x20 && letter != '\t') ||
                      (letter >= 0x7F && letter < 0xA0) || wcschr(L"\u2028\u2029", letter) ||
                      (letter >= 0x202A && letter <= 0x202E) ||
                      (letter >= 0x2066 && letter <= 0x2069);
    }
    return has_control ? 'c' : '.';
}

static void note_lines(struct inbox *inbox, struct text *text)
{
    struct line line;
    while (take_line(inbox, &line)) {
        const char *error = check_line(&line);
        char said = error ? error[2] : '.';
        HOLDS(line.length > MAX_LINE || said == verdict(line.text, line.length));
        HOLDS(error || strlen(line.text) == line.length);
        note(text, &said, 1);
        note(text, line.text, line.length > MAX_LINE ? 0 : line.length);
    }
}

/* Reads from a pipe, as from a connection, with reads of this size. */
static void read_lines(struct text *text, size_t step)
{
    static int ends[2] = {-1, -1};
    struct inbox inbox = {0};
    size_t done = 0;
    if (ends[0] < 0)
        HOLDS(pipe(ends) == 0);
    for (text->length = 0; done < sent.length;) {
        size_t length = MIN(sent.length - done, step);
        HOLDS(write(ends[1], sent.bytes + done, length) == (ssize_t)length);
        HOLDS(fill(&inbox, ends[0], SIZE_MAX) == (ssize_t)length);
        note_lines(&inbox, text);
        pack(&inbox);
        HOLDS(kept(&inbox) <= MAX_LINE + 1);
        done += length;
    }
    empty(&inbox);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    setlocale(LC_CTYPE, "C.UTF-8");
    size_t step = take_byte(&input) + 1;
    unfold(&input);
    step = MAX(step, sent.length / MOST_PIECES);
    read_lines(&at_once, MOST_SENT);
    read_lines(&in_pieces, step);
    HOLDS(at_once.length == in_pieces.length);
    HOLDS(memcmp(at_once.bytes, in_pieces.bytes, at_once.length) == 0);
    return 0;
}
