/*
 * chat_server: the chat server in C, for Linux. PROTOCOL.md is the contract that it keeps;
 * ids such as JOIN-3 name its rules.
 *
 *     gcc -o chat_server server.c && ./chat_server        (--help tells the rest)
 *
 * One thread and one epoll loop. Whatever comes in takes one way through the file:
 *
 *     socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
 *
 * What the room sees is appended once, to the room's stream; each user has a place on it, and
 * receives what lies behind that place. What is for one user alone is spliced in at that user's
 * place. So a message costs one copy, however many read it, and an idle user holds no buffer.
 *
 * What always holds:
 *  1. Only section 10 receives from, sends to and closes a connection.
 *  2. To speak is to append: to the room's stream, or to one user's queue. No handler sends.
 *  3. Nobody is freed inside a handler: a user is marked, and reaped at the end of the round.
 *  4. Names are unique, case aside, among those in the room.
 *  5. Text is bytes. A checked line has no NUL in it, so it may be a C string; nothing else may.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <search.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define VERSION        "0.1.0"
#define HOST           "127.0.0.1"
#define PORT           8080
#define MAX_NAME       32            /* bytes of a name */
#define MAX_LINE       1024          /* bytes of a line from a client, its end not counted */
#define WHO_LINE       1024          /* bytes of a line of /who, its end not counted */
#define MAX_CLIENTS    10000         /* connections; one more is told that the server is full */
#define MAX_QUEUE      (1024 * 1024) /* bytes that may wait for one user; beyond, it is dropped */
#define LEAST_QUEUE    4096          /* the smallest --max-queue: a few lines */
#define MAX_REFUSALS   5             /* refused names on one connection; the last ends it */
#define JOIN_SECONDS   60            /* to give a good name */
#define LINGER_SECONDS 1             /* for one that the server ends: its queue, its last words */
#define DRAIN_SECONDS  10            /* for one whose client has ended its side: its queue */
#define ACCEPT_PAUSE   100           /* milliseconds without accepting, out of descriptors */
#define ACCEPT_BATCH   64            /* connections accepted in one round: a rush holds up nobody */
#define EVENT_BATCH    256           /* events taken from the kernel in one round */
#define BACKLOG        4096          /* connections that may wait to be accepted */
#define BLOCK_SIZE     (64 * 1024)   /* bytes of a block of the stream */
#define SPLICE_SIZE    512           /* bytes of private text that a splice has room for at least */
#define READ_SIZE      (64 * 1024)   /* bytes received from one user in one go */
#define CONSOLE_SIZE   4096          /* bytes read from the operator in one go */
#define ROUND_SIZE     (256 * 1024)  /* bytes queued in a round, before everybody is sent them */
#define MAX_PIECES     64            /* pieces of memory handed to the kernel in one call */
#define MAX_FORMATTED  1200          /* bytes of a line from here: a text with words around it */

#define PROMPT "Enter your screen name: "

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* A part of the room's stream. Blocks are only appended to, and freed from the oldest on. */
struct block {
    struct block *next; /* the block that continues this one, if there is one yet */
    uint64_t start;     /* offset in the stream of the first byte here */
    size_t users;       /* how many users have their place in this block */
    char bytes[BLOCK_SIZE];
};

/* The room's stream: all that the room has seen and somebody in it has still to be sent. */
struct stream {
    struct block *head;  /* the oldest block that somebody's place is in */
    struct block *tail;  /* the block that is appended to; there is always one */
    struct block *spare; /* one empty block kept for the next need, or none */
    uint64_t end;        /* offset behind the last byte */
};

/* One user's difference from the stream: at `at`, put in `text`, then leave out `skip` bytes. */
struct splice {
    struct splice *next; /* the user's next splice, farther on in the stream */
    uint64_t at;         /* offset in the stream */
    uint64_t skip;       /* bytes to leave out: the user's own messages */
    size_t length;       /* bytes of text */
    size_t capacity;     /* bytes that there is room for */
    char text[];         /* what is for this user alone */
};

/* A place in what one user is sent. Copied, it looks ahead without moving the user. */
struct cursor {
    struct block *block;   /* where `sent` lies; none for one who is not in the room */
    uint64_t sent;         /* offset in the stream of the next byte to send */
    struct splice *splice; /* the next splice that is not done with, or none */
    size_t text_sent;      /* bytes of its text that have been sent */
};

/* What has come from a peer and is not acted on yet. An idle user's holds no memory. */
struct inbox {
    char *bytes;   /* the start of a line, or lines that must wait; or none */
    size_t length; /* bytes there */
    bool too_long; /* inside a line that is too long: its bytes are thrown away up to its end */
};

/* One line as it came. */
struct line {
    char *text;    /* its bytes, then a NUL in place of the line end */
    size_t length; /* bytes, the NUL not counted */
    bool too_long; /* over MAX_LINE; what is in text means nothing then */
};

/* A connection's life, in this order; steps may be left out. */
enum phase {
    NAMING,    /* has not given a name yet */
    CHATTING,  /* in the room */
    LEAVING,   /* out of the room; what is queued goes out; what comes in is thrown away */
    LINGERING, /* all is sent and our side has ended; waits for the end of the other side */
    GONE,      /* to be reaped at the end of this round */
};

TAILQ_HEAD(user_list, user);

/* Users with one kind of deadline. All of a kind wait equally long, so the first is due first. */
struct deadlines {
    struct user_list users; /* in the order in which they are due */
    int64_t wait;           /* milliseconds */
};

/* One connection, from accept to close. */
struct user {
    int fd;                      /* its socket */
    enum phase phase;            /* where it is in life */
    uint32_t watched;            /* the epoll events asked for at present */
    char name[MAX_NAME + 1];     /* its screen name as typed; empty before it has joined */
    unsigned char refusals;      /* names refused so far */
    bool eof;                    /* its side has ended: nothing more will come */
    bool blocked;                /* the kernel takes no more; EPOLLOUT will tell */
    bool touched;                /* is on the list of those to look at when the round ends */
    bool held;                   /* is on the list of those whose inbox has lines that wait */
    struct inbox inbox;          /* what it sent and is not acted on */
    struct cursor cursor;        /* its place in what it is sent */
    struct splice *last_splice;  /* the end of the list that begins at cursor.splice */
    uint64_t skips;              /* sum of the skips of its splices */
    uint64_t texts;              /* sum of the lengths of their texts */
    uint64_t reply;              /* bytes that its own last line brought it */
    struct deadlines *deadlines; /* the deadline it waits for, or none */
    int64_t due;                 /* when that is, in the milliseconds of now_ms */
    TAILQ_ENTRY(user) in_users;
    TAILQ_ENTRY(user) in_deadlines;
    TAILQ_ENTRY(user) in_held;
    STAILQ_ENTRY(user) in_touched;
};

/* What the command line says. */
struct options {
    const char *host;     /* address or name to listen on */
    long port;            /* 0: any free one */
    long max_clients;     /* LIMIT-2 */
    long max_queue;       /* LIMIT-1, in bytes */
    int64_t join_timeout; /* JOIN-8, in milliseconds */
    bool quiet;           /* keep the room's lines off standard output */
};

/* Everything there is. */
struct server {
    struct options options;
    int epoll_fd;                         /* what the loop waits on */
    int listener;                         /* accepts connections, until the server stops */
    int wake;                             /* read end of the pipe that a signal writes to */
    bool console_open;                    /* standard input has not ended yet */
    bool console_is_file;                 /* epoll refuses it, as it never has to be waited for */
    struct inbox console;                 /* what the operator typed and is not acted on */
    bool stop_asked;                      /* by a signal or the operator; the loop does it */
    bool stopping;                        /* everybody has been dismissed */
    int64_t now;                          /* the time of this round, in milliseconds */
    int64_t accept_again;                 /* when to watch the listener again; 0: it is watched */
    struct user_list users;               /* every connection */
    STAILQ_HEAD(, user) touched;          /* those to look at when the round ends */
    struct user_list held;                /* those whose inbox has lines that wait, oldest first */
    struct deadlines joining;             /* JOIN-8 */
    struct deadlines lingering;           /* LEAVE-4 */
    struct deadlines draining;            /* LEAVE-2 */
    struct deadlines gone;                /* due at the end of the round */
    long clients;                         /* connections that are not being closed (LIMIT-2) */
    size_t online;                        /* users in the room */
    void *names;                          /* tsearch tree of those, by name, case aside */
    struct stream stream;                 /* what the room sees */
    uint64_t flushed;                     /* where the stream ended when all were last flushed */
    size_t round_size;                    /* bytes queued in this round */
    char input[READ_SIZE + MAX_LINE + 2]; /* what is being acted on: one inbox, then new bytes */
};

/* These are in sections 10 and 11; what users do calls for them before. */
static void dismiss(struct server *s, struct user *user);
static void set_deadline(struct server *s, struct user *user, struct deadlines *deadlines);

/* Ends the program: without memory nobody could be served, and a crash is easier to notice. */
static void *checked(void *memory)
{
    if (memory)
        return memory;
    fputs("chat-server: out of memory\n", stderr);
    exit(EXIT_FAILURE);
}

static void *allocate(size_t size)
{
    return checked(calloc(1, size));
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* ---- 3. Output to the operator -------------------------------------------------------------- */

/* A line for standard output; it is written at the end of the round. */
static void print_line(const char *line, size_t length)
{
    fwrite(line, 1, length, stdout);
}

/* Errors are ignored: the room goes on when nobody watches. */
static void write_printed(void)
{
    fflush(stdout);
}

/* ---- 4. Lines ------------------------------------------------------------------------------- */

static void empty(struct inbox *inbox)
{
    free(inbox->bytes);
    inbox->bytes = NULL;
    inbox->length = 0;
}

/* Moves what the inbox keeps to the start of a buffer; returns how much that was. */
static size_t unpack(struct inbox *inbox, char *buffer)
{
    size_t length = inbox->length;
    if (length > 0)
        memcpy(buffer, inbox->bytes, length);
    empty(inbox);
    return length;
}

/* Keeps in the (empty) inbox what could not be acted on yet. */
static void keep(struct inbox *inbox, const char *bytes, const char *end)
{
    if (bytes == end)
        return;
    inbox->length = (size_t)(end - bytes);
    inbox->bytes = allocate(inbox->length);
    memcpy(inbox->bytes, bytes, inbox->length);
}

/*
 * Takes one line from the bytes from *next to end, and moves *next past it; false where no line
 * ends there. Of a line that can only be too long, nothing is kept while it comes (LIMIT-4); the
 * one byte more than MAX_LINE may be the CR of its end.
 */
static bool take_line(struct inbox *inbox, char **next, char *end, struct line *line)
{
    char *lf = memchr(*next, '\n', (size_t)(end - *next));
    if (!lf) {
        if (end - *next > MAX_LINE + 1)
            inbox->too_long = true;
        if (inbox->too_long)
            *next = end;
        return false;
    }
    line->text = *next;
    line->length = (size_t)(lf - *next);
    if (line->length > 0 && lf[-1] == '\r')
        line->length--;
    line->text[line->length] = '\0';
    line->too_long = inbox->too_long || line->length > MAX_LINE;
    inbox->too_long = false;
    *next = lf + 1;
    return true;
}

/* The length that the first byte of a UTF-8 character announces; 0 where it cannot be a first. */
static size_t character_length(char byte)
{
    unsigned char first = (unsigned char)byte;
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Decodes one UTF-8 character of a known length; false where the bytes are not one. */
static bool decode(const char *bytes, size_t length, uint32_t *code)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000}; /* below it: overlong */
    unsigned char first = (unsigned char)bytes[0];
    *code = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)bytes[i];
        if ((next & 0xC0) != 0x80)
            return false;
        *code = *code << 6 | (next & 0x3F);
    }
    bool surrogate = *code >= 0xD800 && *code <= 0xDFFF;
    return *code >= lowest[length] && !surrogate && *code <= 0x10FFFF;
}

static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t') || (code >= 0x7F && code <= 0x9F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/* What is wrong with a line, as its sender is told; NULL where nothing is. */
static const char *check_line(const struct line *line)
{
    bool control = false;
    size_t length;
    uint32_t code;
    if (line->too_long)
        return "! line too long (limit 1024 bytes)\n";
    for (size_t i = 0; i < line->length; i += length) {
        length = character_length(line->text[i]);
        if (length == 0 || length > line->length - i || !decode(line->text + i, length, &code))
            return "! not valid UTF-8\n";
        control = control || is_control(code);
    }
    return control ? "! control characters are not allowed\n" : NULL;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t")] == '\0';
}

/* Cuts the spaces and tabs off both ends. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t", text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

/* ---- 5. Queues ------------------------------------------------------------------------------ */

static void add_block(struct stream *stream)
{
    struct block *block = stream->spare ? stream->spare : allocate(sizeof *block);
    stream->spare = NULL;
    block->next = NULL;
    block->start = stream->end;
    block->users = 0;
    if (stream->tail)
        stream->tail->next = block;
    else
        stream->head = block;
    stream->tail = block;
}

static void stream_append(struct server *s, const char *bytes, size_t length)
{
    struct stream *stream = &s->stream;
    s->round_size += length;
    while (length > 0) {
        size_t used = (size_t)(stream->end - stream->tail->start);
        if (used == BLOCK_SIZE) {
            add_block(stream);
            continue;
        }
        size_t n = least(length, BLOCK_SIZE - used);
        memcpy(stream->tail->bytes + used, bytes, n);
        stream->end += n;
        bytes += n;
        length -= n;
    }
}

/* Frees the oldest blocks as far as nobody's place is in them. */
static void stream_trim(struct stream *stream)
{
    while (stream->head != stream->tail && stream->head->users == 0) {
        struct block *block = stream->head;
        stream->head = block->next;
        free(stream->spare);
        stream->spare = block;
    }
}

/* Has the user looked at when the round ends: flushed, watched, buried. */
static void touch(struct server *s, struct user *user)
{
    if (user->touched)
        return;
    user->touched = true;
    STAILQ_INSERT_TAIL(&s->touched, user, in_touched);
}

static struct splice *add_splice(struct user *user, uint64_t at, size_t capacity)
{
    struct splice *splice = allocate(sizeof *splice + capacity);
    splice->at = at;
    splice->capacity = capacity;
    if (user->last_splice)
        user->last_splice->next = splice;
    else
        user->cursor.splice = splice;
    user->last_splice = splice;
    return splice;
}

/* Where on the stream the user's queue ends; one who is not in the room has no part in it. */
static uint64_t view_end(const struct server *s, const struct user *user)
{
    return user->cursor.block ? s->stream.end : user->cursor.sent;
}

/* Appends text for one user alone, behind all that it has to be sent so far. */
static void queue_text(struct server *s, struct user *user, const char *text, size_t length)
{
    struct splice *last = user->last_splice;
    uint64_t at = view_end(s, user);
    if (!last || last->at != at || last->skip > 0 || last->length + length > last->capacity)
        last = add_splice(user, at, length > SPLICE_SIZE ? length : SPLICE_SIZE);
    memcpy(last->text + last->length, text, length);
    last->length += length;
    user->texts += length;
    s->round_size += length;
    touch(s, user);
}

/* Leaves out for the user the bytes that are about to be appended to the stream. */
static void stream_skip(struct server *s, struct user *user, size_t length)
{
    struct splice *last = user->last_splice;
    if (!last || last->at + last->skip != s->stream.end)
        last = add_splice(user, s->stream.end, 0);
    last->skip += length;
    user->skips += length;
}

/* Bytes of the stream that the user keeps in memory, its own lines too. */
static uint64_t behind(const struct server *s, const struct user *user)
{
    return view_end(s, user) - user->cursor.sent;
}

/* Bytes that wait to be sent to the user: what LIMIT-1 bounds. */
static uint64_t waiting(const struct server *s, const struct user *user)
{
    return behind(s, user) - user->skips + user->texts - user->cursor.text_sent;
}

/*
 * Moves past what takes no sending: splices whose text is out, what they skip, and the end of a
 * block. A splice from before the user joined lies at 0, so it is due as well (at <= sent).
 */
static void settle(struct cursor *cursor)
{
    while (cursor->splice && cursor->splice->at <= cursor->sent &&
           cursor->text_sent == cursor->splice->length) {
        cursor->sent += cursor->splice->skip;
        cursor->text_sent = 0;
        cursor->splice = cursor->splice->next;
    }
    while (cursor->block && cursor->block->next && cursor->block->next->start <= cursor->sent)
        cursor->block = cursor->block->next;
}

/* Finds the next piece to send, of at most `limit` bytes, and moves past it; false at the end. */
static bool next_piece(struct cursor *cursor, uint64_t end, size_t limit, struct iovec *piece)
{
    settle(cursor);
    struct splice *splice = cursor->splice;
    if (splice && splice->at <= cursor->sent) {
        piece->iov_base = splice->text + cursor->text_sent;
        piece->iov_len = least(splice->length - cursor->text_sent, limit);
        cursor->text_sent += piece->iov_len;
        return true;
    }
    if (splice)
        end = least(end, splice->at);
    if (cursor->sent >= end)
        return false;
    size_t offset = (size_t)(cursor->sent - cursor->block->start);
    piece->iov_base = cursor->block->bytes + offset;
    piece->iov_len = least(least(BLOCK_SIZE - offset, end - cursor->sent), limit);
    cursor->sent += piece->iov_len;
    return true;
}

/* Moves the user past `sent` bytes, and frees the splices that are done with. */
static void advance(struct server *s, struct user *user, size_t sent)
{
    struct splice *done = user->cursor.splice;
    struct block *before = user->cursor.block;
    struct iovec piece;
    while (sent > 0 && next_piece(&user->cursor, view_end(s, user), sent, &piece))
        sent -= piece.iov_len;
    settle(&user->cursor);
    while (done != user->cursor.splice) {
        struct splice *next = done->next;
        user->skips -= done->skip;
        user->texts -= done->length;
        free(done);
        done = next;
    }
    if (!done)
        user->last_splice = NULL;
    if (before) {
        before->users--;
        user->cursor.block->users++;
    }
}

/* Lets the user read the stream from here on; what waited for it comes first. */
static void attach(struct server *s, struct user *user)
{
    user->cursor.sent = s->stream.end;
    user->cursor.block = s->stream.tail;
    user->cursor.block->users++;
}

/* Throws away all that waits for the user, and its place on the stream. */
static void forget_queue(struct user *user)
{
    struct splice *splice = user->cursor.splice;
    while (splice) {
        struct splice *next = splice->next;
        free(splice);
        splice = next;
    }
    if (user->cursor.block)
        user->cursor.block->users--;
    user->cursor = (struct cursor){0};
    user->last_splice = NULL;
    user->skips = user->texts = 0;
}

/* Gives a user who leaves a copy of what waits, lest it keep in memory all that follows. */
static void detach(struct server *s, struct user *user)
{
    size_t length = waiting(s, user), copied = 0;
    char *copy = allocate(length + 1);
    struct cursor ahead = user->cursor;
    struct iovec piece;
    while (next_piece(&ahead, view_end(s, user), length, &piece)) {
        memcpy(copy + copied, piece.iov_base, piece.iov_len);
        copied += piece.iov_len;
    }
    forget_queue(user);
    if (length > 0)
        queue_text(s, user, copy, length);
    free(copy);
}

/* ---- 6. Room -------------------------------------------------------------------------------- */

/* The names in the tree are ASCII, so that this is the order of their lower-cased bytes. */
static int compare_users(const void *a, const void *b)
{
    return strcasecmp(((const struct user *)a)->name, ((const struct user *)b)->name);
}

/* The user in the room that has this name, case aside; or NULL. */
static struct user *find(const struct server *s, const char *name)
{
    struct user key;
    if (strlen(name) > MAX_NAME)
        return NULL;
    strcpy(key.name, name);
    struct user **found = tfind(&key, &s->names, compare_users);
    return found ? *found : NULL;
}

static void add_name(struct server *s, struct user *user, const char *name)
{
    strcpy(user->name, name);
    checked(tsearch(user, &s->names, compare_users));
}

static size_t __attribute__((format(printf, 2, 0)))
format_line(char line[MAX_FORMATTED], const char *format, va_list arguments)
{
    int length = vsnprintf(line, MAX_FORMATTED, format, arguments);
    return least((size_t)length, MAX_FORMATTED - 1);
}

/* A line to all in the room but one (or NULL), and to the operator. */
static void __attribute__((format(printf, 3, 4)))
broadcast(struct server *s, struct user *except, const char *format, ...)
{
    char line[MAX_FORMATTED];
    va_list arguments;
    va_start(arguments, format);
    size_t length = format_line(line, format, arguments);
    va_end(arguments);
    if (except)
        stream_skip(s, except, length);
    stream_append(s, line, length);
    if (!s->options.quiet)
        print_line(line, length);
}

/* A line to one user; to the operator where user is NULL. */
static void __attribute__((format(printf, 3, 4)))
tell(struct server *s, struct user *user, const char *format, ...)
{
    char line[MAX_FORMATTED];
    va_list arguments;
    va_start(arguments, format);
    size_t length = format_line(line, format, arguments);
    va_end(arguments);
    if (user)
        queue_text(s, user, line, length);
    else
        print_line(line, length);
}

static bool name_is_valid(const char *name)
{
    size_t length =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && length <= MAX_NAME && name[length] == '\0';
}

/* Exactly one's own name is in use, but its case may be changed (CMD-4). */
static bool name_in_use(const struct server *s, const struct user *asker, const char *name)
{
    const struct user *owner = find(s, name);
    if (strcasecmp(name, "server") == 0 || strcasecmp(name, "password") == 0)
        return true;
    return owner && (owner != asker || strcmp(name, owner->name) == 0);
}

/* Tells the asker why it cannot have the name; false where it can. */
static bool name_error(struct server *s, struct user *asker, const char *name)
{
    if (!name_is_valid(name))
        tell(s, asker, "! invalid name: use 1 to 32 letters, digits, \"_\" or \"-\"\n");
    else if (name_in_use(s, asker, name))
        tell(s, asker, "! name in use: %s\n", name);
    else
        return false;
    return true;
}

/* The newcomer's place is behind its own join notice, so that it sees the room from then on. */
static void enter(struct server *s, struct user *user, const char *name)
{
    set_deadline(s, user, NULL);
    add_name(s, user, name);
    user->phase = CHATTING;
    s->online++;
    broadcast(s, NULL, "%s has joined the chat\n", name);
    attach(s, user);
    tell(s, user, "Welcome, %s (%zu online). Type /help for commands.\n", name, s->online);
}

/* What waits for the user can still go out, but nothing that is said from now on. */
static void leave(struct server *s, struct user *user)
{
    tdelete(user, &s->names, compare_users);
    s->online--;
    if (s->stopping)
        return; /* no notices, and nothing more is said */
    detach(s, user);
    broadcast(s, NULL, "%s has left the chat\n", user->name);
}

/* ---- 7. Commands ---------------------------------------------------------------------------- */

/* An entry of a table of commands; in the operator's, user is always NULL. */
struct command {
    const char *word; /* with its slash, in lower case; NULL ends the table */
    void (*run)(struct server *s, struct user *user, char *rest); /* rest: what follows the word */
};

/* Runs the command that a line holds. */
static void run_command(struct server *s, struct user *user, const struct command *table,
                        char *line)
{
    size_t length = strcspn(line, " ");
    for (; table->word; table++)
        if (strlen(table->word) == length && strncasecmp(table->word, line, length) == 0) {
            table->run(s, user, line + length);
            return;
        }
    tell(s, user, "! unknown command: %.*s (try /help)\n", (int)length, line);
}

static void cmd_help(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user,
         "Commands: /help, /who, /msg NAME TEXT, /nick NAME, /quit"
         " (// to begin a message with /)\n");
}

/* The line of a /who answer that is being filled, and for whom. */
struct who {
    struct server *s;
    struct user *asker;      /* NULL: the operator */
    char line[WHO_LINE + 1]; /* what it holds so far, with a NUL */
    size_t start;            /* length of what each line begins with */
    size_t length;           /* length now */
};

static void who_name(const void *node, VISIT visit, void *closure)
{
    const struct user *user = *(struct user *const *)node;
    struct who *who = closure;
    if (visit != postorder && visit != leaf)
        return; /* twalk comes by an inner node three times; once is in order */
    if (who->length + strlen(", ") + strlen(user->name) > WHO_LINE) {
        tell(who->s, who->asker, "%s\n", who->line);
        who->length = who->start;
    }
    const char *comma = who->length > who->start ? ", " : "";
    who->length += (size_t)snprintf(who->line + who->length, sizeof who->line - who->length, "%s%s",
                                    comma, user->name);
}

static void cmd_who(struct server *s, struct user *user, char *rest)
{
    struct who who = {.s = s, .asker = user};
    (void)rest;
    who.start = (size_t)snprintf(who.line, sizeof who.line, "Online (%zu): ", s->online);
    who.length = who.start;
    twalk_r(s->names, who_name, &who);
    tell(s, user, "%s\n", who.line);
}

static void cmd_msg(struct server *s, struct user *user, char *rest)
{
    char *name = rest + strspn(rest, " ");
    char *text = name + strcspn(name, " ");
    if (*text != '\0')
        *text++ = '\0';
    text += strspn(text, " ");
    struct user *target = find(s, name);
    if (*name == '\0' || is_blank(text)) {
        tell(s, user, "! usage: /msg NAME TEXT\n");
    } else if (!target) {
        tell(s, user, "! no such user: %s\n", name);
    } else if (target == user) {
        tell(s, user, "! cannot message yourself\n");
    } else {
        tell(s, target, "(private) %s: %s\n", user->name, text);
    }
}

static void cmd_nick(struct server *s, struct user *user, char *rest)
{
    char old[MAX_NAME + 1];
    char *name = trim(rest);
    if (name_error(s, user, name))
        return;
    strcpy(old, user->name);
    tdelete(user, &s->names, compare_users);
    add_name(s, user, name);
    broadcast(s, NULL, "%s is now known as %s\n", old, name);
}

static void cmd_quit(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user, "Goodbye, %s\n", user->name);
    dismiss(s, user);
}

static const struct command commands[] = {
    {"/help", cmd_help}, {"/who", cmd_who},   {"/msg", cmd_msg},
    {"/nick", cmd_nick}, {"/quit", cmd_quit}, {NULL, NULL},
};

/* ---- 8. Lines to actions -------------------------------------------------------------------- */

/* What every refused name leads to, its error told before: the prompt again, or the end. */
static void refuse_name(struct server *s, struct user *user)
{
    if (++user->refusals < MAX_REFUSALS) {
        tell(s, user, PROMPT);
        return;
    }
    tell(s, user, "! too many attempts\n");
    dismiss(s, user);
}

static void handle_name(struct server *s, struct user *user, char *line)
{
    char *name = trim(line);
    if (name_error(s, user, name))
        refuse_name(s, user);
    else
        enter(s, user, name);
}

static bool is_command(const char *line)
{
    return line[0] == '/' && line[1] != '/';
}

/* The text of a line that is no command: of a double slash, the first is removed (CHAT-5). */
static const char *message_text(const char *line)
{
    return line[0] == '/' ? line + 1 : line;
}

static void handle_chat(struct server *s, struct user *user, char *line)
{
    if (is_blank(line))
        return;
    if (is_command(line))
        run_command(s, user, commands, line);
    else
        broadcast(s, user, "%s: %s\n", user->name, message_text(line));
}

static void handle_line(struct server *s, struct user *user, const struct line *line)
{
    const char *error = check_line(line);
    if (error) {
        tell(s, user, "%s", error);
        if (user->phase == NAMING)
            refuse_name(s, user);
    } else if (user->phase == NAMING) {
        handle_name(s, user, line->text);
    } else {
        handle_chat(s, user, line->text);
    }
}

/* ---- 9. Console ----------------------------------------------------------------------------- */

static void op_help(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user,
         "Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n");
}

static void op_kick(struct server *s, struct user *user, char *rest)
{
    char *name = trim(rest);
    struct user *target = find(s, name);
    if (*name == '\0') {
        tell(s, user, "! usage: /kick NAME\n");
    } else if (!target) {
        tell(s, user, "! no such user: %s\n", name);
    } else {
        tell(s, target, "! kicked by the operator\n");
        dismiss(s, target);
    }
}

static void op_shutdown(struct server *s, struct user *user, char *rest)
{
    (void)user;
    (void)rest;
    s->stop_asked = true;
}

static const struct command op_commands[] = {
    {"/help", op_help},         {"/who", cmd_who}, {"/kick", op_kick},
    {"/shutdown", op_shutdown}, {NULL, NULL},
};

static void console_line(struct server *s, const struct line *line)
{
    const char *error = check_line(line);
    if (error)
        tell(s, NULL, "%s", error);
    else if (is_command(line->text))
        run_command(s, NULL, op_commands, line->text);
    else if (!is_blank(line->text))
        broadcast(s, NULL, "server: %s\n", message_text(line->text));
}

/* The server goes on without standard input. */
static void close_console(struct server *s)
{
    if (s->console_open && !s->console_is_file)
        epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    s->console_open = false;
    empty(&s->console); /* a last line without its end is none (FRAME-8) */
}

/* Any error is the end too: in the background of a terminal it is EIO (OPER-2). */
static void read_console(struct server *s)
{
    struct line line;
    ssize_t n = read(STDIN_FILENO, s->input + s->console.length, CONSOLE_SIZE);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        close_console(s);
        return;
    }
    char *next = s->input;
    char *end = next + unpack(&s->console, s->input) + n;
    while (take_line(&s->console, &next, end, &line))
        console_line(s, &line);
    keep(&s->console, next, end);
}

/* ---- 10. Sockets ---------------------------------------------------------------------------- */

/* Asks epoll for the events that matter now; most of the time they are the same as before. */
static void watch(struct server *s, struct user *user)
{
    if (user->phase == GONE)
        return;
    bool reads = !user->eof && !user->held;
    struct epoll_event event = {.data.ptr = user};
    event.events = (reads ? (uint32_t)EPOLLIN : 0) | (user->blocked ? (uint32_t)EPOLLOUT : 0);
    if (event.events == user->watched)
        return;
    user->watched = event.events;
    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, user->fd, &event);
}

static void set_held(struct server *s, struct user *user, bool held)
{
    if (user->held == held)
        return;
    user->held = held;
    if (held)
        TAILQ_INSERT_TAIL(&s->held, user, in_held);
    else
        TAILQ_REMOVE(&s->held, user, in_held);
}

/* Takes a user out of the room, or from the prompt; nothing that it says counts any more. */
static void retire(struct server *s, struct user *user)
{
    if (user->phase == CHATTING)
        leave(s, user);
    if (user->phase <= CHATTING)
        s->clients--;
    user->phase = LEAVING;
    set_held(s, user, false);
    empty(&user->inbox);
    touch(s, user);
}

/* Ends a connection kindly: its queue goes out first (LEAVE-4). */
static void dismiss(struct server *s, struct user *user)
{
    retire(s, user);
    set_deadline(s, user, &s->lingering);
}

/* Ends a connection now, whatever waits. */
static void drop(struct server *s, struct user *user)
{
    forget_queue(user);
    retire(s, user);
    user->phase = GONE;
    set_deadline(s, user, &s->gone);
}

/* The client has ended its side: its queue still goes out (LEAVE-2). */
static void hang_up(struct server *s, struct user *user)
{
    user->eof = true;
    if (user->phase == LINGERING) {
        drop(s, user);
    } else if (user->phase != LEAVING) {
        retire(s, user);
        set_deadline(s, user, &s->draining);
    }
}

/* Ends our side of a connection, now that its queue is out. */
static void end_sending(struct server *s, struct user *user)
{
    if (user->eof) {
        drop(s, user);
        return;
    }
    shutdown(user->fd, SHUT_WR);
    user->phase = LINGERING;
}

/*
 * Whether so much was said in this round that all must first be sent it. Otherwise one who reads
 * well could be dropped, for having been given no chance to.
 */
static bool round_is_full(const struct server *s)
{
    return s->round_size > least(ROUND_SIZE, (uint64_t)s->options.max_queue / 2);
}

/*
 * Whether the user's next line is taken up now. Not while much waits for it: its own commands
 * shall not drop it (LIMIT-1), and one who does not read, but floods, shall not keep the stream
 * in memory.
 */
static bool may_speak(const struct server *s, const struct user *user)
{
    uint64_t half = (uint64_t)s->options.max_queue / 2;
    return user->phase <= CHATTING && !round_is_full(s) && waiting(s, user) <= half &&
           behind(s, user) <= half;
}

/* Acts on the first `length` bytes of the input; what must wait goes to the inbox. */
static void take_up(struct server *s, struct user *user, size_t length)
{
    char *next = s->input;
    char *end = next + length;
    struct line line;
    while (may_speak(s, user) && take_line(&user->inbox, &next, end, &line)) {
        uint64_t before = user->texts;
        handle_line(s, user, &line);
        user->reply = user->texts > before ? user->texts - before : 0;
    }
    if (user->phase > CHATTING)
        return;
    keep(&user->inbox, next, end);
    set_held(s, user, next < end && !may_speak(s, user));
}

static void receive(struct server *s, struct user *user)
{
    ssize_t n = recv(user->fd, s->input + user->inbox.length, READ_SIZE, 0);
    if (n == 0)
        hang_up(s, user);
    else if (n > 0 && user->phase <= CHATTING)
        take_up(s, user, unpack(&user->inbox, s->input) + (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        drop(s, user);
}

static void user_ready(struct server *s, struct user *user, uint32_t events)
{
    if (user->phase == GONE)
        return; /* dropped earlier in this round */
    if (events & EPOLLOUT)
        user->blocked = false;
    if (user->watched & EPOLLIN) {
        if (events & (EPOLLIN | EPOLLERR | EPOLLHUP))
            receive(s, user);
    } else if (events & (EPOLLERR | EPOLLHUP)) {
        drop(s, user); /* not being read from, so this is the only sign of a reset */
    }
    touch(s, user);
}

/* Whether there are lines that waited and may be taken up now. */
static bool held_may_speak(const struct server *s)
{
    struct user *user;
    TAILQ_FOREACH (user, &s->held, in_held)
        if (may_speak(s, user))
            return true;
    return false;
}

/* Goes on with the lines that waited, the oldest first, so that everybody gets a turn. */
static void take_turns(struct server *s)
{
    struct user *next;
    for (struct user *user = TAILQ_FIRST(&s->held); user; user = next) {
        next = TAILQ_NEXT(user, in_held);
        if (!may_speak(s, user))
            continue;
        take_up(s, user, unpack(&user->inbox, s->input));
        touch(s, user);
    }
}

/* One system call for as many lines as there are. */
static void send_waiting(struct server *s, struct user *user)
{
    struct iovec pieces[MAX_PIECES];
    struct msghdr message = {.msg_iov = pieces};
    struct cursor ahead = user->cursor;
    while (message.msg_iovlen < MAX_PIECES &&
           next_piece(&ahead, view_end(s, user), SIZE_MAX, &pieces[message.msg_iovlen]))
        message.msg_iovlen++;
    ssize_t sent = message.msg_iovlen > 0 ? sendmsg(user->fd, &message, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        drop(s, user);
        return;
    }
    advance(s, user, sent > 0 ? (size_t)sent : 0);
    user->blocked = waiting(s, user) > 0;
}

/* Sends what waits for the user, and sees how it stands then. */
static void flush(struct server *s, struct user *user)
{
    if (!user->blocked && user->phase != GONE)
        send_waiting(s, user);
    uint64_t left = waiting(s, user);
    if (user->phase == LEAVING && left == 0)
        end_sending(s, user);
    else if (user->phase == CHATTING && left > (uint64_t)s->options.max_queue + user->reply)
        drop(s, user); /* LIMIT-1; what its own last line brought it is not held against it */
    watch(s, user);
}

/*
 * Flushes those who were touched, and all in the room if it has seen anything. To drop a slow
 * user is news to the room, hence the loop.
 */
static void flush_all(struct server *s)
{
    struct user *user;
    while (s->flushed < s->stream.end || !STAILQ_EMPTY(&s->touched)) {
        if (s->flushed < s->stream.end)
            TAILQ_FOREACH (user, &s->users, in_users)
                if (user->phase == CHATTING)
                    touch(s, user);
        s->flushed = s->stream.end;
        while ((user = STAILQ_FIRST(&s->touched))) {
            STAILQ_REMOVE_HEAD(&s->touched, in_touched);
            user->touched = false;
            flush(s, user);
        }
    }
    stream_trim(&s->stream);
}

static void close_user(struct server *s, struct user *user)
{
    set_deadline(s, user, NULL);
    TAILQ_REMOVE(&s->users, user, in_users);
    close(user->fd);
    free(user);
}

/* Frees those who are gone. Nothing points to them any more when a round ends. */
static void reap(struct server *s)
{
    struct user *user;
    while ((user = TAILQ_FIRST(&s->gone.users)))
        close_user(s, user);
}

/* Asks a newcomer for its name, if there is room (LIMIT-2). */
static void greet(struct server *s, int fd)
{
    struct user *user = allocate(sizeof *user);
    user->fd = fd;
    user->watched = EPOLLIN;
    TAILQ_INSERT_TAIL(&s->users, user, in_users);
    struct epoll_event event = {.events = user->watched, .data.ptr = user};
    bool full = s->clients >= s->options.max_clients;
    s->clients++;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        drop(s, user);
    } else if (full) {
        tell(s, user, "! server full\n");
        dismiss(s, user);
    } else {
        set_deadline(s, user, &s->joining);
        tell(s, user, PROMPT);
    }
}

static void watch_listener(struct server *s, bool on)
{
    struct epoll_event event = {.events = on ? (uint32_t)EPOLLIN : 0, .data.ptr = &s->listener};
    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->listener, &event);
    s->accept_again = on ? 0 : s->now + ACCEPT_PAUSE;
}

/*
 * Out of descriptors or memory, the newcomer stays in the kernel's queue, where it would wake the
 * loop again at once: so the listener is left alone for a while (LIMIT-3). Any other error is
 * about one connection that came to nothing.
 */
static void accept_users(struct server *s)
{
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            greet(s, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            watch_listener(s, false);
            return;
        }
    }
}

/* ---- 11. Loop ------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Replaces the deadline that the user waits for; NULL: it waits for none. */
static void set_deadline(struct server *s, struct user *user, struct deadlines *deadlines)
{
    if (user->deadlines)
        TAILQ_REMOVE(&user->deadlines->users, user, in_deadlines);
    user->deadlines = deadlines;
    if (!deadlines)
        return;
    user->due = s->now + deadlines->wait;
    TAILQ_INSERT_TAIL(&deadlines->users, user, in_deadlines);
}

/* The first user whose time is over, or NULL. */
static struct user *overdue(const struct server *s, const struct deadlines *deadlines)
{
    struct user *user = TAILQ_FIRST(&deadlines->users);
    return user && user->due <= s->now ? user : NULL;
}

static void expire(struct server *s)
{
    struct user *user;
    while ((user = overdue(s, &s->joining))) {
        tell(s, user, "\n! timed out\n"); /* the prompt is pending, so its line ends first */
        dismiss(s, user);
    }
    while ((user = overdue(s, &s->lingering)) || (user = overdue(s, &s->draining)))
        drop(s, user);
    if (s->accept_again && s->accept_again <= s->now && !s->stopping)
        watch_listener(s, true);
}

/* Milliseconds until something is due; -1: nothing is. */
static int next_timeout(const struct server *s)
{
    const struct deadlines *all[] = {&s->joining, &s->lingering, &s->draining};
    int64_t due = s->accept_again ? s->accept_again : INT64_MAX;
    if ((s->console_open && s->console_is_file) || held_may_speak(s))
        return 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct user *first = TAILQ_FIRST(&all[i]->users);
        if (first && first->due < due)
            due = first->due;
    }
    if (due == INT64_MAX)
        return -1;
    int64_t wait = due - now_ms();
    return wait < 0 ? 0 : (int)least((uint64_t)wait, INT32_MAX);
}

static void handle_event(struct server *s, const struct epoll_event *event)
{
    if (event->data.ptr == &s->listener)
        accept_users(s);
    else if (event->data.ptr == &s->wake)
        s->stop_asked = true;
    else if (event->data.ptr == &s->console)
        read_console(s);
    else
        user_ready(s, event->data.ptr, event->events);
}

/* What was said in the round goes out, and those who are gone are buried. */
static void end_round(struct server *s)
{
    flush_all(s);
    reap(s);
    write_printed();
    s->round_size = 0;
}

/* STOP-1: nobody new, the last line to everybody, and then the ending of LEAVE-4. */
static void stop(struct server *s)
{
    struct user *user;
    end_round(s);
    while (held_may_speak(s)) { /* what was received before comes before the notice (STOP-2) */
        take_turns(s);
        end_round(s);
    }
    s->stopping = true;
    s->accept_again = 0;
    close(s->listener);
    close_console(s);
    broadcast(s, NULL, "Server is shutting down\n");
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->phase == NAMING)
            tell(s, user, "\nServer is shutting down\n"); /* the prompt's line ends first */
        if (user->phase <= CHATTING)
            dismiss(s, user);
        else if (user->deadlines == &s->draining)
            set_deadline(s, user, &s->lingering);
    }
}

/* Waits for something to do, does it, and sends everybody what came of it. */
static void one_round(struct server *s)
{
    struct epoll_event events[EVENT_BATCH];
    int count = epoll_wait(s->epoll_fd, events, EVENT_BATCH, next_timeout(s));
    s->now = now_ms();
    take_turns(s);
    for (int i = 0; i < count; i++)
        handle_event(s, &events[i]);
    if (s->console_open && s->console_is_file)
        read_console(s);
    expire(s);
    if (s->stop_asked && !s->stopping)
        stop(s);
    end_round(s);
}

/* Serves until the server has stopped and everybody is gone. */
static void run(struct server *s)
{
    while (!s->stopping || !TAILQ_EMPTY(&s->users))
        one_round(s);
}

/* ---- 12. Start and stop --------------------------------------------------------------------- */

static const char usage[] =
    "usage: chat-server [--host HOST] [--port PORT] [--max-clients N] [--max-queue BYTES]\n"
    "                   [--join-timeout SECONDS] [--quiet] [--help] [--version]\n";

static void print_help(void)
{
    printf("%s\n"
           "A chat server: one room, lines of text over TCP.\n"
           "The connection is not encrypted: whoever is on the way can read and change it.\n\n"
           "  --host HOST             address to listen on (default %s)\n"
           "  --port PORT             port to listen on; 0 picks a free one (default %d)\n"
           "  --max-clients N         connections at a time (default %d)\n"
           "  --max-queue BYTES       bytes that may wait for one user before it is dropped;\n"
           "                          %d or more (default %d)\n"
           "  --join-timeout SECONDS  time to give a name (default %d)\n"
           "  --quiet                 do not print what the room sees (default: print it)\n"
           "  --help                  print this and exit\n"
           "  --version               print the version and exit\n\n"
           "Lines on standard input are announced to all; /help there lists the operator's "
           "commands.\n",
           usage, HOST, PORT, MAX_CLIENTS, LEAST_QUEUE, MAX_QUEUE, JOIN_SECONDS);
}

/* Ends the program for a command line that is wrong. */
static _Noreturn void __attribute__((format(printf, 1, 2))) usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%schat-server: error: ", usage);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

/* How many ASCII digits a text begins with; 0 if there are more than nine (PROG-4). */
static size_t count_digits(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits <= 9 ? digits : 0;
}

static bool parse_number(const char *text, long lowest, long highest, long *number)
{
    size_t digits = count_digits(text);
    if (digits == 0 || text[digits] != '\0')
        return false;
    *number = strtol(text, NULL, 10);
    return *number >= lowest && *number <= highest;
}

/* Reads seconds, such as 60 or 0.25, as milliseconds: one at least. */
static bool parse_seconds(const char *text, int64_t *milliseconds)
{
    size_t whole = count_digits(text);
    const char *end = text + whole;
    if (whole > 0 && *end == '.' && count_digits(end + 1) > 0)
        end += 1 + count_digits(end + 1);
    double seconds = strtod(text, NULL);
    if (whole == 0 || *end != '\0' || seconds <= 0)
        return false;
    *milliseconds = seconds < 0.001 ? 1 : (int64_t)(seconds * 1000);
    return true;
}

static bool set_host(struct options *options, const char *value)
{
    options->host = value;
    return true;
}

static bool set_port(struct options *options, const char *value)
{
    return parse_number(value, 0, 65535, &options->port);
}

static bool set_max_clients(struct options *options, const char *value)
{
    return parse_number(value, 1, LONG_MAX, &options->max_clients);
}

static bool set_max_queue(struct options *options, const char *value)
{
    return parse_number(value, LEAST_QUEUE, LONG_MAX, &options->max_queue);
}

static bool set_join_timeout(struct options *options, const char *value)
{
    return parse_seconds(value, &options->join_timeout);
}

/* An option that takes a value. */
struct value_option {
    const char *name;
    bool (*set)(struct options *options, const char *value); /* false: the value is no good */
};

static const struct value_option value_options[] = {
    {"--host", set_host},
    {"--port", set_port},
    {"--max-clients", set_max_clients},
    {"--max-queue", set_max_queue},
    {"--join-timeout", set_join_timeout},
    {NULL, NULL},
};

/* Reads an option and its value, which stands behind `=` or is the next word; gives the last. */
static char **set_option(struct options *options, char **word)
{
    const struct value_option *option = value_options;
    size_t length = strcspn(*word, "=");
    while (option->name &&
           (strlen(option->name) != length || strncmp(option->name, *word, length) != 0))
        option++;
    if (!option->name)
        usage_error("%s: %s", **word == '-' ? "unknown option" : "not an option", *word);
    bool joined = (*word)[length] == '=';
    const char *value = joined ? *word + length + 1 : *++word;
    if (!value)
        usage_error("no value for %s", option->name);
    if (!option->set(options, value))
        usage_error("bad value: %s%s%s", option->name, joined ? "=" : " ", value);
    return word;
}

/* Reads the command line; the first word that asks for help or is wrong ends the program. */
static void parse_options(struct options *options, char **word)
{
    for (; *word; word++) {
        if (strcmp(*word, "--help") == 0) {
            print_help();
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--version") == 0) {
            puts("chat-server " VERSION " (C, protocol 1)");
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--quiet") == 0) {
            options->quiet = true;
        } else {
            word = set_option(options, word);
        }
    }
}

/* Opens what the caller left closed of descriptors 0 to 2, lest a connection become one. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void print_address(FILE *stream, const char *host, const char *port)
{
    fprintf(stream, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

static _Noreturn void cannot_listen(const char *host, const char *port, const char *reason)
{
    fputs("cannot listen on ", stderr);
    print_address(stderr, host, port);
    fprintf(stderr, ": %s\n", reason);
    exit(EXIT_FAILURE);
}

/*
 * On Linux an accepted socket has the options of its listener, so they are set here once. A peer
 * that vanished is noticed within two minutes (LEAVE-5).
 */
static void configure(int listener)
{
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},           {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},           {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},        {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 120000},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        setsockopt(listener, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

/* The first IPv4 address, else the first. */
static const struct addrinfo *choose_address(const struct addrinfo *addresses)
{
    for (const struct addrinfo *a = addresses; a; a = a->ai_next)
        if (a->ai_family == AF_INET)
            return a;
    return addresses;
}

static int listen_on(const struct options *options)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *addresses;
    char port[16];
    snprintf(port, sizeof port, "%ld", options->port);
    int error = getaddrinfo(options->host, port, &hints, &addresses);
    if (error)
        cannot_listen(options->host, port,
                      error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    const struct addrinfo *address = choose_address(addresses);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        configure(fd);
    if (fd < 0 || bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        cannot_listen(options->host, port, strerror(errno));
    freeaddrinfo(addresses);
    return fd;
}

/* The ready line (PROG-3), with the numbers in use. */
static void announce(int listener)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[NI_MAXHOST] = "";
    char port[NI_MAXSERV] = "";
    getsockname(listener, (struct sockaddr *)&address, &length);
    getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    printf("Listening on ");
    print_address(stdout, host, port);
    printf("\n");
    write_printed();
}

static int wake_writer; /* the other end of server.wake; a handler reaches nothing else */

/* The first signal wakes the loop to stop; a second one finds the default action (STOP-5). */
static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGHUP, SIG_DFL);
    ssize_t written = write(wake_writer, "", 1);
    (void)written; /* nothing can be done about it here, and an empty pipe has room */
    errno = saved;
}

/* SIGHUP ends the server as well, but not one that nohup(1) has made deaf to it. */
static void catch_signals(struct server *s)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        perror("chat-server: pipe");
        exit(EXIT_FAILURE);
    }
    s->wake = ends[0];
    wake_writer = ends[1];
    signal(SIGPIPE, SIG_IGN); /* a write to what is closed is an error, not the end */
    signal(SIGTTIN, SIG_IGN); /* in the background, reading the terminal fails instead (OPER-2) */
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    if (signal(SIGHUP, on_signal) == SIG_IGN)
        signal(SIGHUP, SIG_IGN);
}

static int watch_source(struct server *s, int fd, uint32_t events, void *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void init_deadlines(struct deadlines *deadlines, int64_t wait)
{
    TAILQ_INIT(&deadlines->users);
    deadlines->wait = wait;
}

static void init_state(struct server *s)
{
    TAILQ_INIT(&s->users);
    TAILQ_INIT(&s->held);
    STAILQ_INIT(&s->touched);
    init_deadlines(&s->joining, s->options.join_timeout);
    init_deadlines(&s->lingering, LINGER_SECONDS * 1000);
    init_deadlines(&s->draining, DRAIN_SECONDS * 1000);
    init_deadlines(&s->gone, 0);
    add_block(&s->stream);
}

static void start(struct server *s)
{
    catch_signals(s);
    raise_descriptor_limit();
    s->listener = listen_on(&s->options);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0 || watch_source(s, s->listener, EPOLLIN, &s->listener) < 0 ||
        watch_source(s, s->wake, EPOLLIN | EPOLLONESHOT, &s->wake) < 0) {
        perror("chat-server: epoll");
        exit(EXIT_FAILURE);
    }
    s->console_open = true;
    if (watch_source(s, STDIN_FILENO, EPOLLIN, &s->console) < 0)
        s->console_is_file = true; /* or /dev/null, or what cannot be read and is closed then */
    announce(s->listener);
}

/* All that is left when the last user is gone. */
static void finish(struct server *s)
{
    while (s->stream.head) {
        struct block *block = s->stream.head;
        s->stream.head = block->next;
        free(block);
    }
    free(s->stream.spare);
    close(s->epoll_fd);
    close(s->wake);
    close(wake_writer);
}

int main(int argc, char **argv)
{
    static struct server s = {
        .options = {HOST, PORT, MAX_CLIENTS, MAX_QUEUE, JOIN_SECONDS * 1000, false},
    };
    (void)argc;
    open_standard_files();
    parse_options(&s.options, argv + 1);
    init_state(&s);
    start(&s);
    run(&s);
    finish(&s);
    return EXIT_SUCCESS;
}
