/*
 * Input from the server and the keyboard: nothing harmful is shown, and all bounds hold, even if
 * the connection is lost and made again.
 *
 * Input: settings, then steps, each with a kind, a number of bytes, and the bytes. Among these,
 * 0xFF, n, c stands for 16 * n times c.
 */
#include "fuzz.h"

#include "../../../clients/c/client.c"

#define MOST_UNFOLDED READ_SIZE /* bytes of a step */

enum { FROM_SERVER, FROM_KEYBOARD, LOST, HAPPENINGS };

static struct client client;
static int other_end; /* the other end of the connection */

static int new_connection(void)
{
    int ends[2];
    HOLDS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends) == 0);
    other_end = ends[1];
    return ends[0];
}

/* Takes the output for the screen, and checks it by an own reading of CLIENT-6. */
static void look(void)
{
    const char *next = client.screen.bytes, *end = next + client.screen.length;
    uint32_t code;
    for (size_t n; next < end; next += n) {
        n = decode(next, (size_t)(end - next), &code);
        HOLDS(n > 0 && code <= 0x10FFFF && (code >= ' ' || code == '\t' || code == '\n'));
        HOLDS((code < 0x7F || code > 0x9F) && (code < 0x202A || code > 0x202E));
    }
    client.screen.length = 0;
}

static size_t unfold(struct input *input, size_t length, char *bytes)
{
    size_t unfolded = 0;
    for (; length > 0 && input->left > 0; length--) {
        unsigned byte = take_byte(input);
        size_t times = byte == 0xFF ? 16 * take_byte(input) : 1;
        times = MIN(times, MOST_UNFOLDED - unfolded);
        memset(bytes + unfolded, (int)(byte == 0xFF ? take_byte(input) : byte), times);
        unfolded += times;
    }
    return unfolded;
}

/* Types lines; ends the last one. */
static void on_keys(char *bytes, size_t length)
{
    bytes[length++] = '\n';
    for (size_t n; length > 0; bytes += n, length -= n) {
        n = piece_length(bytes, length);
        if (client.outbox.length + client.kept.length < MAX_WAITING)
            on_typed(&client, bytes, n);
    }
}

/* Loses the connection, and continues with a new one at once. */
static void lose_connection(void)
{
    close(other_end);
    receive(&client);
    look();
    ending(&client);
    other_end = -1;
    if (client.status >= 0)
        return;
    HOLDS(client.phase == AWAY);
    client.tried = new_connection();
    on_tried(&client);
}

static void step(struct input *input)
{
    static char bytes[MOST_UNFOLDED + 1];
    unsigned what = take_byte(input) % HAPPENINGS;
    size_t length = unfold(input, take_byte(input), bytes);
    if (what == FROM_SERVER && length > 0) {
        HOLDS(write(other_end, bytes, length) == (ssize_t)length);
        receive(&client);
        look();
    } else if (what == FROM_KEYBOARD) {
        on_keys(bytes, length);
    } else if (what == LOST) {
        lose_connection();
    }
    HOLDS(strlen(client.name) < NAME_SIZE && strlen(client.proven) < SECRET_SIZE);
    if (client.phase == JOINED)
        HOLDS(*client.name);
    if (client.link.refused) /* the attempt to reconnect has failed */
        lose_connection();
    client.outbox.length = client.link.sent = 0; /* everything is sent */
}

/* A new client; unused bytes of its queues may have any value. */
static void clear_client(void)
{
    client.typed.length = client.outbox.length = client.kept.length = client.screen.length = 0;
    client.link = (struct link){0};
    client.phase = ASKED;
    client.forgets = client.typed_all = false;
    client.prompted = client.offered = 0;
    client.tries = 0;
    *client.name = *client.proven = *client.proven_name = '\0';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    unsigned settings = take_byte(&input);
    setlocale(LC_CTYPE, "C.UTF-8");
    clear_client();
    client.deadline = NEVER;
    client.status = -1;
    client.options = (struct options){"localhost", "8080", NULL, 3, 1};
    client.answer = settings & 1 ? "alice" : NULL;
    client.link.fd = new_connection();
    while (input.left > 0 && client.status < 0)
        step(&input);
    if (client.link.fd >= 0)
        close(client.link.fd);
    if (other_end >= 0)
        close(other_end);
    return 0;
}
