/*
 * chat_server: the chat server in C, for Linux. PROTOCOL.md is the contract that it keeps;
 * ids such as JOIN-3 name its rules.
 *
 *     gcc -o chat_server server.c && ./chat_server        (--help tells the rest)
 *     gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread        (with accounts)
 *
 * One thread and one epoll loop; with accounts, threads beside it that hash passwords. Whatever
 * comes in takes one way through the file:
 *
 *     socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
 *
 * What the room sees is appended once, to the room's stream; each user has a place on it, and
 * receives what lies behind that place. What is for one user alone is spliced in at that user's
 * place. So a message costs one copy, however many read it, and an idle user holds no buffer.
 *
 * What always holds:
 *  1. Only section 12 receives from, sends to and closes a connection.
 *  2. To speak is to append: to the room's stream, or to one user's queue. No handler sends.
 *  3. Nobody is freed inside a handler: a user is marked, and reaped at the end of the round.
 *  4. Names are unique, case aside, among those in the room.
 *  5. Text is bytes. A checked line has no NUL in it, so it may be a C string; nothing else may.
 *  6. A worker knows nothing of the server but its job, which the loop leaves to it meanwhile.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
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
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#ifdef ACCOUNTS
#include <crypt.h>
#include <pthread.h>
#endif

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define VERSION             "0.1.0"
#define HOST                "127.0.0.1"
#define PORT                8080
#define MAX_NAME            32    /* bytes of a name */
#define MAX_LINE            1024  /* bytes of a line from a client, its end not counted */
#define WHO_LINE            1024  /* bytes of a line of /who, its end not counted */
#define MAX_CLIENTS         10000 /* connections; one more is told that the server is full */
#define MAX_QUEUE           (1024 * 1024) /* bytes that may wait for one user; beyond, it is dropped */
#define LEAST_QUEUE         4096          /* the smallest --max-queue: a few lines */
#define MAX_REFUSALS        5             /* refused names on one connection; the last ends it */
#define MIN_PASSWORD        8             /* bytes of a password that somebody registers with */
#define MAX_PASSWORD        72            /* bytes of a password: bcrypt would not look at more */
#define MAX_WRONG_PASSWORDS 3             /* on one connection; the last ends it */
#define HASH_SIZE           60            /* characters of a bcrypt hash */
#define HASH_COST           10 /* how long it takes to make one: 2 to the power of that */
#define WORKER_NICENESS     15 /* of a worker: others who wake up break in */
#define MAX_ACCOUNT         (MAX_NAME + HASH_SIZE + 4) /* bytes of an account's line, ends around it */
#define LOCK_PAUSE          10   /* milliseconds between two tries to lock the accounts */
#define LOCK_WAIT           2000 /* milliseconds for them */
#define MAX_REASON          128  /* bytes of what is wrong with the accounts file */
#define JOIN_SECONDS        60   /* to give a good name */
#define LINGER_SECONDS      1    /* for one that the server ends: its queue, its last words */
#define DRAIN_SECONDS       10   /* for one whose client has ended its side: its queue */
#define ACCEPT_PAUSE        100  /* milliseconds without accepting, out of descriptors */
#define ACCEPT_BATCH        64   /* connections accepted in one round: a rush holds up nobody */
#define EVENT_BATCH         256  /* events taken from the kernel in one round */
#define BACKLOG             4096 /* connections that may wait to be accepted */
#define BLOCK_SIZE          (64 * 1024) /* bytes of a block of the stream */
#define SPLICE_SIZE         512 /* bytes of private text that a splice has room for at least */
#define MAX_HELD            (64 * 1024) /* bytes of one user's input that wait here to be acted on */
#define READ_SIZE           MAX_HELD    /* bytes received from one user in one go, what waits too */
#define LINE_COST           1000        /* what a line takes from its user's allowance (LIMIT-5) */
#define TEXT_SIZE           (16 * 1024)   /* bytes that an accounts file may have at first */
#define MAX_PENDING         (1024 * 1024) /* bytes that may wait for who reads our output */
#define PENDING_TIME        250           /* milliseconds for them, before the process ends */
#define CONSOLE_SIZE        4096          /* bytes read from the operator in one go */
#define ROUND_SIZE          (256 * 1024) /* bytes queued in a round, before everybody is sent them */
#define MAX_PIECES          64           /* pieces of memory handed to the kernel in one call */
#define MAX_FORMATTED       1200       /* bytes of a line from here: a text with words around it */
#define MAX_LOGGED          (8 * 1024) /* bytes of a line of the log: that, and all of it escaped */
#define MAX_ADDRESS         80         /* bytes of an address and a port in figures */

#define PROMPT          "Enter your screen name: "
#define PASSWORD_PROMPT "Password: "

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
    uint32_t done; /* how many of them, the first ones, have been acted on */
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
    PASSWORD,  /* has given a registered one, and not its password yet */
    CHATTING,  /* in the room */
    LEAVING,   /* out of the room; what is queued goes out; what comes in is thrown away */
    LINGERING, /* all is sent and our side has ended; waits for the end of the other side */
    GONE,      /* to be reaped at the end of this round */
};

/* Whether a user's lines are acted on as they come. */
enum hold {
    FREE,      /* they are */
    HELD,      /* too much waits to be sent, so that nothing more is read from it (LIMIT-1) */
    THROTTLED, /* it has sent too many; they wait, and more is read up to MAX_HELD (LIMIT-5) */
    BUSY,      /* they wait likewise, for a worker to be done with the one before (ACCT-7) */
};

/* Where somebody is, or we are. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

TAILQ_HEAD(user_list, user);

/* Users with one kind of deadline. All of a kind wait equally long, so the first is due first. */
struct deadlines {
    struct user_list users; /* in the order in which they are due */
    int64_t wait;           /* milliseconds */
};

/* One line of the accounts file. */
struct account {
    char name[MAX_NAME + 1]; /* as it is there */
    char hash[HASH_SIZE + 1];
    size_t at;     /* where in the file the hash begins */
    uint64_t born; /* when it was first seen, in the count of accounts.births */
};

/* What tells two states of a file apart. */
struct stamp {
    dev_t device;
    uint64_t inode;
    struct timespec born; /* a later file may have the inode of one that is gone; or zeros */
    struct timespec modified, changed;
    uint64_t size;
};

/* What a file holds. */
struct text {
    char *bytes;
    size_t length;
};

/* The accounts that are in force, and the file that they come from (ACCT-1). */
struct accounts {
    void *hashes;                /* tsearch tree of them, by name, case aside */
    uint64_t births;             /* how many there have been: one made anew is another one */
    struct stamp stamp;          /* the file when it was last read, or written by us */
    bool settled;                /* it was so old then that it need not be read again */
    struct stamp bad;            /* when it was last found bad */
    char bad_reason[MAX_REASON]; /* and why; empty: it is good */
};

/* The accounts file, as a worker has it that changes it. */
struct ledger {
    int folder;               /* where it is; -1: not opened */
    int file;                 /* the file itself, locked; -1: not opened */
    int fresh;                /* the one that takes its place, locked too; -1: not opened */
    char name[NAME_MAX + 1];  /* its name in the folder */
    char aside[NAME_MAX + 5]; /* what the new one is called until it takes the old one's place */
    struct text text;         /* what it holds, or shall hold */
    struct stamp stamp;       /* as it was before that was read; or of the new one */
};

/* What a worker does for a user. */
enum task { CHECK, REGISTER, PASSWD, UNREGISTER };

enum outcome {
    DONE,    /* or the password is right */
    REFUSED, /* the name has an account, or none; or the password is wrong */
    FAILED,  /* the file is bad or cannot be written */
};

/* What is handed to a worker, and comes back. What is behind `error` is the loop's alone. */
struct job {
    enum task task;
    const char *path;                /* of the accounts file */
    char name[MAX_NAME + 1];         /* of the account */
    char password[MAX_PASSWORD + 1]; /* as it was given; wiped when it is hashed */
    char hash[HASH_SIZE + 1];        /* the one that it must have, or gets */
    enum outcome outcome;
    struct stamp stamp; /* the file as the loop knows it; once changed, as it is then */
    void *hashes;       /* a changed file's accounts, for the loop */
    uint64_t born;      /* when the account was, once there is one */
    int error;          /* why the file cannot be changed, where that has to be logged */
    struct user *user;  /* whom it is for; NULL: is gone */
    bool running;       /* a worker has it */
    TAILQ_ENTRY(job) in_jobs;
};

TAILQ_HEAD(job_list, job);

/* The workers: threads that hash, so that the loop never does. */
struct pool {
    int ours;                /* the loop's end of the socket that jobs go over, and come back */
    int theirs;              /* the end that all workers share */
    size_t workers;          /* how many there are */
    size_t busy;             /* how many of them have a job */
    struct job_list waiting; /* jobs that no worker has yet, oldest first */
    struct job_list running; /* jobs that one has */
};

/* That a user has given an account's password, or made it. */
struct proof {
    char name[MAX_NAME + 1];
    uint64_t born; /* an account of that name that was born later is another one */
};

/* What accounts are to one user. Who has nothing to do with them has none of this. */
struct member {
    struct job *job;           /* what a worker does for it, or is to do; or none */
    char wanted[MAX_NAME + 1]; /* the name that it was asked the password of */
    unsigned char wrong;       /* wrong passwords so far */
    size_t verified_count;     /* how many accounts are its own */
    struct proof *verified;    /* those */
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
    enum hold hold : 8;          /* whether its lines wait, and so on which list it is */
    union address address;       /* where it comes from */
    int64_t allowance;           /* for lines to be taken up at once, LINE_COST for each */
    int64_t reckoned;            /* when that was reckoned, in the milliseconds of now_ms */
    struct inbox inbox;          /* what it sent and is not acted on */
    struct cursor cursor;        /* its place in what it is sent */
    struct splice *last_splice;  /* the end of the list that begins at cursor.splice */
    uint64_t skips;              /* sum of the skips of its splices */
    uint64_t texts;              /* sum of the lengths of their texts */
    uint64_t reply;              /* bytes that its own last line brought it */
    struct member *member;       /* its business with accounts, or none */
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
    long rate;            /* LIMIT-5, in lines a second; 0: no limit */
    const char *log;      /* LOG-2: path of the log; or none */
    const char *accounts; /* ACCT-1: path of the accounts file; or none */
    bool members_only;    /* ACCT-3 */
};

/* Where lines for somebody outside go. They never hold up the loop: rather, they are lost. */
struct sink {
    const char *name; /* as it is called when lines are lost */
    int fd;           /* what is written to; -1: nothing is */
    bool is_socket;   /* never blocks, as it is sent to */
    bool is_shared;   /* may block, as it could not be opened for ourselves */
    bool blocked;     /* takes no more; EPOLLOUT will tell */
    bool told;        /* it has been said that lines are lost */
    size_t length;    /* bytes that wait, in whole lines but for the first one's start */
    size_t begun;     /* how many of them are the rest of a line that was written in part */
    size_t torn;      /* bytes of that line that have been written */
    char pending[MAX_PENDING]; /* those bytes */
};

enum sink_name { STANDARD_OUTPUT, LOG_FILE, STANDARD_ERROR, SINKS };

/* What a line of the log says, in this order (LOG-2); what is NULL is left out. */
struct event {
    const char *level; /* INFO, where none is given */
    const char *msg;
    const char *name;
    const char *to;
    const char *text;
    const union address *addr;
    const char *reason;
    const char *error;
};

/* Everything there is. */
struct server {
    struct options options;
    int epoll_fd;                /* what the loop waits on */
    int listener;                /* accepts connections, until the server stops */
    union address address;       /* where that is */
    int wake;                    /* read end of the pipe that a signal writes to */
    struct sink sinks[SINKS];    /* for the operator, and the log */
    bool console_open;           /* standard input has not ended yet */
    bool console_is_file;        /* epoll refuses it, as it never has to be waited for */
    struct inbox console;        /* what the operator typed and is not acted on */
    bool stop_asked;             /* by a signal or the operator; the loop does it */
    bool stopping;               /* everybody has been dismissed */
    int64_t now;                 /* the time of this round, in milliseconds */
    int64_t accept_again;        /* when to watch the listener again; 0: it is watched */
    bool accept_failed;          /* since the last newcomer, and it has been logged */
    struct user_list users;      /* every connection */
    STAILQ_HEAD(, user) touched; /* those to look at when the round ends */
    struct user_list held;       /* those who are HELD, oldest first */
    struct user_list throttled;  /* those who are THROTTLED, whose turn is next first */
    struct deadlines joining;    /* JOIN-8 */
    struct deadlines lingering;  /* LEAVE-4 */
    struct deadlines draining;   /* LEAVE-2 */
    struct deadlines gone;       /* due at the end of the round */
    long clients;                /* connections that are not being closed (LIMIT-2) */
    size_t online;               /* users in the room */
    struct accounts accounts;    /* who needs a password */
    struct pool pool;            /* who checks them */
    void *names;                 /* tsearch tree of those, by name, case aside */
    struct stream stream;        /* what the room sees */
    uint64_t flushed;            /* where the stream ended when all were last flushed */
    size_t round_size;           /* bytes queued in this round */
    char input[READ_SIZE];       /* what is being acted on: one inbox, then new bytes */
};

/* These are in sections 12 and 13; what users do calls for them before. */
static void dismiss(struct server *s, struct user *user, const char *reason);
static void set_deadline(struct server *s, struct user *user, struct deadlines *deadlines);
static int64_t now_ms(void);

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

/*
 * Lines for a descriptor of ours. A pipe or a terminal is opened anew, for ourselves: the one that
 * we were given is shared with others, whose writes would cease to block with ours.
 */
static void open_sink(struct sink *sink, const char *name, int fd)
{
    struct stat about;
    char path[32];
    sink->name = name;
    sink->fd = fd;
    if (fstat(fd, &about) < 0)
        return;
    sink->is_socket = S_ISSOCK(about.st_mode);
    if (!S_ISFIFO(about.st_mode) && !isatty(fd))
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    sink->is_shared = own < 0;
    if (own >= 0)
        sink->fd = own;
}

/* What is shared is asked before; a pipe that has room takes PIPE_BUF bytes at once. */
static ssize_t sink_write(const struct sink *sink)
{
    struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
    if (sink->is_socket)
        return send(sink->fd, sink->pending, sink->length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (!sink->is_shared)
        return write(sink->fd, sink->pending, sink->length);
    if (poll(&room, 1, 0) > 0)
        return write(sink->fd, sink->pending, least(sink->length, PIPE_BUF));
    errno = EAGAIN;
    return -1;
}

/* Lets go of the first bytes that wait. They may end inside a line, whose rest must follow. */
static void sink_advance(struct sink *sink, size_t length)
{
    bool whole = length == 0 || sink->pending[length - 1] == '\n';
    const char *last = memrchr(sink->pending, '\n', length);
    size_t torn = last ? length - (size_t)(last + 1 - sink->pending) : sink->torn + length;
    sink->torn = whole ? 0 : torn;
    sink->length -= length;
    memmove(sink->pending, sink->pending + length, sink->length);
    char *end = whole ? NULL : memchr(sink->pending, '\n', sink->length);
    sink->begun = end ? (size_t)(end + 1 - sink->pending) : 0;
}

/* Has the loop tell when the sink takes more. */
static void watch_sink(struct server *s, struct sink *sink)
{
    struct epoll_event event = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = sink};
    sink->blocked = epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, sink->fd, &event) == 0 ||
                    epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, sink->fd, &event) == 0;
}

static void report_loss(struct server *s, struct sink *sink, const char *reason);

/* Cuts off a file the line that was written in part, so that it holds whole ones alone. */
static void mend(struct sink *sink)
{
    struct stat file;
    if (fstat(sink->fd, &file) < 0 || !S_ISREG(file.st_mode) || file.st_size < (off_t)sink->torn)
        return;
    if (ftruncate(sink->fd, file.st_size - (off_t)sink->torn) == 0)
        sink->begun = sink->torn = 0;
}

/* Writes what waits. After an error only the rest of a line still does, lest half a one stays. */
static void sink_flush(struct server *s, struct sink *sink)
{
    while (sink->length > 0 && !sink->blocked) {
        ssize_t written = sink_write(sink);
        if (written > 0) {
            sink_advance(sink, (size_t)written);
        } else if (written < 0 && errno == EAGAIN) {
            watch_sink(s, sink);
            return;
        } else if (written == 0 || errno != EINTR) {
            int error = errno;
            mend(sink);
            sink->length = sink->begun;
            report_loss(s, sink, strerror(error));
            return;
        }
    }
}

/* Takes a line, to be written at the end of the round; or loses it, where too much waits. */
static void sink_put(struct server *s, struct sink *sink, const char *line, size_t length)
{
    if (sink->length + length > MAX_PENDING)
        sink_flush(s, sink);
    if (sink->length + length > MAX_PENDING) {
        report_loss(s, sink, "not read");
        return;
    }
    memcpy(sink->pending + sink->length, line, length);
    sink->length += length;
}

/* Says once that lines are lost; that nobody reads this either, it says to nobody. */
static void report_loss(struct server *s, struct sink *sink, const char *reason)
{
    char line[MAX_FORMATTED];
    if (sink->told)
        return;
    sink->told = true;
    snprintf(line, sizeof line, "chat-server: lines for %.1000s are lost: %s\n", sink->name,
             reason);
    sink_put(s, &s->sinks[STANDARD_ERROR], line, strlen(line));
}

static void flush_sinks(struct server *s)
{
    for (int i = 0; i < SINKS; i++)
        sink_flush(s, &s->sinks[i]);
}

/* What waits is written for as long as somebody takes it, but not much longer (STOP-3). */
static void close_sinks(struct server *s)
{
    int64_t until = now_ms() + PENDING_TIME, left;
    for (struct sink *sink = s->sinks; sink < s->sinks + SINKS; sink++) {
        struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
        sink_flush(s, sink);
        while (sink->blocked && (left = until - now_ms()) > 0 && poll(&room, 1, (int)left) != 0) {
            sink->blocked = false;
            sink_flush(s, sink);
        }
        if (sink->length > 0)
            report_loss(s, sink, "not read");
        if (sink->fd > STDERR_FILENO)
            close(sink->fd);
    }
}

/* A line for standard output. */
static void print_line(struct server *s, const char *line, size_t length)
{
    sink_put(s, &s->sinks[STANDARD_OUTPUT], line, length);
}

/* ---- 4. Log --------------------------------------------------------------------------------- */

/* These are in section 5. */
static size_t character_length(char byte);
static bool decode(const char *bytes, size_t length, uint32_t *code);
static bool is_control(uint32_t code);

/* A line of the log that is being written. */
struct record {
    size_t length;
    char bytes[MAX_LOGGED];
};

static void record_put(struct record *record, const char *bytes, size_t length)
{
    length = least(length, sizeof record->bytes - record->length);
    memcpy(record->bytes + record->length, bytes, length);
    record->length += length;
}

static void __attribute__((format(printf, 2, 3)))
record_add(struct record *record, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t room = sizeof record->bytes - record->length;
    int length = vsnprintf(record->bytes + record->length, room, format, arguments);
    va_end(arguments);
    record->length += least((size_t)length, room - 1);
}

/* One character of a JSON text, as it is where it can be. */
static void record_add_character(struct record *record, const char *bytes, size_t length,
                                 uint32_t code)
{
    if (code == '"' || code == '\\')
        record_add(record, "\\%c", (int)code);
    else if (code == '\t')
        record_add(record, "\\t");
    else if (is_control(code))
        record_add(record, "\\u%04x", code);
    else
        record_put(record, bytes, length);
}

/* A field, where there is a value. Only a path can hold what is not UTF-8; U+FFFD stands for it. */
static void record_add_field(struct record *record, const char *key, const char *value)
{
    uint32_t code;
    if (!value)
        return;
    record_add(record, "%s\"%s\":\"", record->length > 0 ? "," : "{", key);
    for (size_t length, left = strlen(value); left > 0; left -= length, value += length) {
        length = character_length(*value);
        bool valid = length > 0 && length <= left && decode(value, length, &code);
        if (!valid)
            length = 1;
        record_add_character(record, valid ? value : "\xEF\xBF\xBD", valid ? length : 3,
                             valid ? code : 0xFFFD);
    }
    record_add(record, "\"");
}

/* The time of day as RFC 3339 has it, in UTC. */
static void format_time(char text[MAX_ADDRESS])
{
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(text, MAX_ADDRESS, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(text + length, MAX_ADDRESS - length, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void format_address(char text[MAX_ADDRESS], const union address *address)
{
    char host[MAX_ADDRESS - 10] = "";
    char port[8] = "";
    getnameinfo(&address->any, sizeof *address, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(text, MAX_ADDRESS, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* A line for the log, if there is one. */
static void log_event(struct server *s, struct event event)
{
    struct record record;
    char time[MAX_ADDRESS], addr[MAX_ADDRESS];
    if (!s->options.log)
        return;
    record.length = 0;
    format_time(time);
    if (event.addr)
        format_address(addr, event.addr);
    record_add_field(&record, "time", time);
    record_add_field(&record, "level", event.level ? event.level : "INFO");
    record_add_field(&record, "msg", event.msg);
    record_add_field(&record, "name", event.name);
    record_add_field(&record, "to", event.to);
    record_add_field(&record, "text", event.text);
    record_add_field(&record, "addr", event.addr ? addr : NULL);
    record_add_field(&record, "reason", event.reason);
    record_add_field(&record, "error", event.error);
    record_add(&record, "}\n");
    sink_put(s, &s->sinks[LOG_FILE], record.bytes, record.length);
}

static void log_refusal(struct server *s, const struct user *user, const char *reason)
{
    log_event(s, (struct event){
                     .level = "WARN", .msg = "refuse", .addr = &user->address, .reason = reason});
}

static void __attribute__((format(printf, 2, 3)))
log_error(struct server *s, const char *format, ...)
{
    char error[MAX_FORMATTED];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error, sizeof error, format, arguments);
    va_end(arguments);
    log_event(s, (struct event){.level = "ERROR", .msg = "error", .error = error});
}

/* O_NONBLOCK is for a FIFO; one that nobody reads cannot be opened. */
static int open_log_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
}

static void open_log(struct server *s)
{
    const char *path = s->options.log;
    struct sink *sink = &s->sinks[LOG_FILE];
    sink->name = path;
    sink->fd = path ? open_log_file(path) : -1;
    if (!path || sink->fd >= 0)
        return;
    fprintf(stderr, "cannot open log %s: %s\n", path, strerror(errno));
    exit(EXIT_FAILURE);
}

static bool is_same_file(int a, int b)
{
    struct stat of_a, of_b;
    return fstat(a, &of_a) == 0 && fstat(b, &of_b) == 0 && of_a.st_dev == of_b.st_dev &&
           of_a.st_ino == of_b.st_ino;
}

/* Opens the log anew, as logrotate(8) has renamed it; where that fails, the old one serves on. */
static void reopen_log(struct server *s)
{
    struct sink *sink = &s->sinks[LOG_FILE];
    int fd = open_log_file(s->options.log);
    if (fd < 0) {
        log_error(s, "cannot open log %s: %s", s->options.log, strerror(errno));
        return;
    }
    if (is_same_file(fd, sink->fd)) {
        close(fd);
        return;
    }
    sink_flush(s, sink);
    sink_advance(sink, sink->begun); /* the rest of a line belongs to the old file alone */
    close(sink->fd);
    sink->fd = fd;
    sink->blocked = false;
}

/* ---- 5. Lines ------------------------------------------------------------------------------- */

static void empty(struct inbox *inbox)
{
    free(inbox->bytes);
    inbox->bytes = NULL;
    inbox->length = 0;
    inbox->done = 0;
}

/* How many bytes the inbox keeps to be acted on. */
static size_t kept(const struct inbox *inbox)
{
    return inbox->length - inbox->done;
}

/* Moves what the inbox keeps to the start of a buffer; returns how much that was. */
static size_t unpack(struct inbox *inbox, char *buffer)
{
    size_t length = kept(inbox);
    if (length > 0)
        memcpy(buffer, inbox->bytes + inbox->done, length);
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

/* Adds to what the inbox keeps. */
static void keep_more(struct inbox *inbox, const char *bytes, size_t length)
{
    size_t before = kept(inbox);
    if (inbox->done > 0)
        memmove(inbox->bytes, inbox->bytes + inbox->done, before);
    inbox->done = 0;
    inbox->bytes = checked(realloc(inbox->bytes, before + length));
    memcpy(inbox->bytes + before, bytes, length);
    inbox->length = before + length;
}

/* Whether the inbox keeps a whole line. */
static bool has_line(const struct inbox *inbox)
{
    return kept(inbox) > 0 && memchr(inbox->bytes + inbox->done, '\n', kept(inbox));
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

/* How many bytes of plain ASCII come first, which nothing is wrong with: mostly that is all. */
static size_t plain_length(const char *text)
{
    size_t length = 0;
    while (text[length] >= ' ' && text[length] < 0x7F)
        length++;
    return length;
}

/* What is wrong with a line, as its sender is told; NULL where nothing is. */
static const char *check_line(const struct line *line)
{
    bool control = false;
    size_t length;
    uint32_t code;
    if (line->too_long)
        return "! line too long (limit 1024 bytes)\n";
    for (size_t i = plain_length(line->text); i < line->length; i += length) {
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

/* ---- 6. Queues ------------------------------------------------------------------------------ */

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

/* ---- 7. Room -------------------------------------------------------------------------------- */

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
        print_line(s, line, length);
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
        print_line(s, line, length);
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

/* What a user may say at once who has not said anything for a second (LIMIT-5). */
static int64_t full_allowance(const struct server *s)
{
    return (int64_t)s->options.rate * LINE_COST;
}

/* The newcomer's place is behind its own join notice, so that it sees the room from then on. */
static void enter(struct server *s, struct user *user, const char *name)
{
    if (user->deadlines == &s->joining)
        set_deadline(s, user, user->eof ? &s->draining : NULL);
    add_name(s, user, name);
    user->phase = CHATTING;
    user->allowance = full_allowance(s);
    user->reckoned = s->now;
    s->online++;
    log_event(s, (struct event){.msg = "join", .name = user->name, .addr = &user->address});
    broadcast(s, NULL, "%s has joined the chat\n", name);
    attach(s, user);
    tell(s, user, "Welcome, %s (%zu online). Type /help for commands.\n", name, s->online);
}

/* What waits for the user can still go out, but nothing that is said from now on. */
static void leave(struct server *s, struct user *user, const char *reason)
{
    tdelete(user, &s->names, compare_users);
    s->online--;
    if (s->stopping)
        return; /* no notices, and nothing more is said */
    detach(s, user);
    log_event(s, (struct event){
                     .msg = "leave", .name = user->name, .addr = &user->address, .reason = reason});
    broadcast(s, NULL, "%s has left the chat\n", user->name);
}

/* ---- 8. Accounts ---------------------------------------------------------------------------- */

static int compare_accounts(const void *a, const void *b)
{
    return strcasecmp(((const struct account *)a)->name, ((const struct account *)b)->name);
}

/* The account of that name, case aside, in a tree of them; or NULL. */
static struct account *find_account(void *hashes, const char *name)
{
    struct account key;
    if (strlen(name) > MAX_NAME)
        return NULL;
    strcpy(key.name, name);
    struct account **found = tfind(&key, &hashes, compare_accounts);
    return found ? *found : NULL;
}

/* Whether a text begins with a bcrypt hash, of a cost that somebody can wait for. */
static bool is_hash(const char *text)
{
    static const char digits[] = "./abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    if (strncmp(text, "$2", 2) != 0 || text[2] == '\0' || !strchr("aby", text[2]) ||
        text[3] != '$' || strspn(text + 4, "0123456789") != 2 || text[6] != '$')
        return false;
    int cost = (text[4] - '0') * 10 + text[5] - '0';
    return cost >= 4 && cost <= 17 && strspn(text + 7, digits) >= HASH_SIZE - 7;
}

/* Takes up a line of a text that ends in a NUL; gives what is wrong with the line, or NULL. */
static const char *parse_account(const char *text, size_t start, size_t length, void **hashes)
{
    const char *line = text + start;
    const char *colon = memchr(line, ':', length);
    struct account account = {.at = start};
    if (length == 0 || *line == '#')
        return NULL;
    if (!colon)
        return "not NAME:HASH";
    size_t name_length = (size_t)(colon - line);
    memcpy(account.name, line, least(name_length, MAX_NAME));
    if (strlen(account.name) != name_length || !name_is_valid(account.name))
        return "invalid name";
    if (length - name_length - 1 != HASH_SIZE || !is_hash(colon + 1))
        return "not a bcrypt hash";
    if (find_account(*hashes, account.name))
        return "name given twice";
    memcpy(account.hash, colon + 1, HASH_SIZE);
    account.at += name_length + 1;
    struct account *own = allocate(sizeof *own);
    *own = account;
    checked(tsearch(own, hashes, compare_accounts));
    return NULL;
}

/* Makes a tree of the accounts in a text; false, with the reason, where a line is no good. */
static bool parse_accounts(const struct text *text, void **hashes, char reason[MAX_REASON])
{
    size_t number = 1, length;
    *hashes = NULL;
    for (size_t start = 0; start < text->length; start += length + 1, number++) {
        const char *end = memchr(text->bytes + start, '\n', text->length - start);
        length = (end ? (size_t)(end - text->bytes) : text->length) - start;
        const char *wrong = parse_account(text->bytes, start, length, hashes);
        if (!wrong)
            continue;
        snprintf(reason, MAX_REASON, "line %zu: %s", number, wrong);
        tdestroy(*hashes, free);
        *hashes = NULL;
        return false;
    }
    return true;
}

static struct timespec time_of(struct statx_timestamp time)
{
    return (struct timespec){.tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec};
}

/* The state of a file, or, without a name, of an open one. False, and zeros, where it has none. */
static bool take_stamp(int fd, const char *name, struct stamp *stamp)
{
    struct statx file;
    *stamp = (struct stamp){0};
    if (statx(fd, name, AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &file) < 0)
        return false;
    *stamp = (struct stamp){
        .device = makedev(file.stx_dev_major, file.stx_dev_minor),
        .inode = file.stx_ino,
        .born = time_of(file.stx_btime),
        .modified = time_of(file.stx_mtime),
        .changed = time_of(file.stx_ctime),
        .size = file.stx_size,
    };
    return true;
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_file(const struct stamp *a, const struct stamp *b)
{
    return a->device == b->device && a->inode == b->inode && same_time(a->born, b->born);
}

static bool same_stamp(const struct stamp *a, const struct stamp *b)
{
    return same_file(a, b) && a->size == b->size && same_time(a->modified, b->modified) &&
           same_time(a->changed, b->changed);
}

/*
 * Whether a file was changed so long ago that whoever wrote it is done with it (htpasswd empties it
 * and writes it anew), and that any change from now on gives it another stamp; one in the same tick
 * of the clock might not. Where the clock was set back, nobody waits until it has come round.
 */
static bool is_settled(const struct stamp *stamp)
{
    struct timespec now, then = stamp->changed;
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age = (int64_t)(now.tv_sec - then.tv_sec) * 1000000000 + now.tv_nsec - then.tv_nsec;
    return age < 0 || age >= 1000000000;
}

static bool put_error(char reason[MAX_REASON], int error)
{
    snprintf(reason, MAX_REASON, "%s", strerror(error));
    return false;
}

static bool grow_text(struct text *text, size_t *room)
{
    size_t more = *room ? *room * 2 : TEXT_SIZE;
    char *bytes = realloc(text->bytes, more + MAX_ACCOUNT);
    if (!bytes)
        return false;
    text->bytes = bytes;
    *room = more;
    return true;
}

/*
 * Reads what an open file holds, to its end: its size is no more than a hint. There is room for one
 * account more, and a NUL, behind it.
 */
static bool read_text(int fd, struct text *text, char reason[MAX_REASON])
{
    struct stat file;
    ssize_t n = 1;
    if (fstat(fd, &file) < 0)
        return put_error(reason, errno);
    if (!S_ISREG(file.st_mode)) {
        snprintf(reason, MAX_REASON, "not a regular file");
        return false;
    }
    for (size_t room = 0; n > 0; text->length += n > 0 ? (size_t)n : 0) {
        if (text->length == room && !grow_text(text, &room))
            return put_error(reason, ENOMEM);
        n = read(fd, text->bytes + text->length, room - text->length);
    }
    if (n < 0)
        return put_error(reason, errno);
    memset(text->bytes + text->length, 0, MAX_ACCOUNT);
    return true;
}

/* Without O_NONBLOCK, to open a FIFO would hang. */
static int open_accounts(int folder, const char *path)
{
    return openat(folder, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* Reads the file. What it was like after that is told even where it is bad. */
static bool read_accounts(const char *path, void **hashes, struct stamp *stamp,
                          char reason[MAX_REASON])
{
    struct text text = {0};
    *stamp = (struct stamp){0};
    int fd = open_accounts(AT_FDCWD, path);
    if (fd < 0)
        return put_error(reason, errno);
    bool good = read_text(fd, &text, reason) && parse_accounts(&text, hashes, reason);
    take_stamp(fd, "", stamp);
    close(fd);
    free(text.bytes);
    return good;
}

/* An account that was there before is the same one, whatever its password. */
static void inherit_birth(const void *node, VISIT visit, void *closure)
{
    struct account *account = *(struct account *const *)node;
    struct accounts *accounts = closure;
    if (visit != postorder && visit != leaf)
        return;
    const struct account *before = find_account(accounts->hashes, account->name);
    account->born = before ? before->born : ++accounts->births;
}

static void take_accounts(struct accounts *accounts, void *hashes)
{
    twalk_r(hashes, inherit_birth, accounts);
    tdestroy(accounts->hashes, free);
    accounts->hashes = hashes;
    accounts->bad_reason[0] = '\0';
}

/* The accounts that were good stay in force. Each state of a bad file is logged once. */
static void keep_accounts(struct server *s, const struct stamp *stamp, const char *reason)
{
    struct accounts *accounts = &s->accounts;
    if (same_stamp(stamp, &accounts->bad) && strcmp(reason, accounts->bad_reason) == 0)
        return;
    accounts->bad = *stamp;
    strcpy(accounts->bad_reason, reason);
    log_error(s, "cannot read accounts %s: %s", s->options.accounts, reason);
}

/* Takes up a state of the file, unless that is over by the time that it has been read. */
static void adopt_accounts(struct server *s, const struct stamp *stamp)
{
    struct accounts *accounts = &s->accounts;
    char reason[MAX_REASON];
    void *hashes = NULL;
    struct stamp after;
    bool good = read_accounts(s->options.accounts, &hashes, &after, reason);
    bool opened = after.inode != 0;
    if (opened && !same_stamp(&after, stamp)) {
        tdestroy(hashes, free);
        return;
    }
    if (good)
        take_accounts(accounts, hashes);
    else
        keep_accounts(s, &after, reason);
    if (opened) {
        accounts->stamp = after;
        accounts->settled = true;
    }
}

/* Looks at the file, and reads it if it is not as it was, and settled (ACCT-1). */
static void refresh_accounts(struct server *s)
{
    const struct accounts *accounts = &s->accounts;
    struct stamp stamp;
    if (!s->options.accounts)
        return;
    if (!take_stamp(AT_FDCWD, s->options.accounts, &stamp))
        keep_accounts(s, &stamp, strerror(errno));
    else if (!(accounts->settled && same_stamp(&stamp, &accounts->stamp)) && is_settled(&stamp))
        adopt_accounts(s, &stamp);
}

/* The accounts to begin with; without them, the server does not. */
static void load_accounts(struct server *s)
{
    char reason[MAX_REASON];
    void *hashes;
    const char *path = s->options.accounts;
    if (!path)
        return;
    if (!read_accounts(path, &hashes, &s->accounts.stamp, reason)) {
        fprintf(stderr, "cannot read accounts %s: %s\n", path, reason);
        exit(EXIT_FAILURE);
    }
    s->accounts.settled = is_settled(&s->accounts.stamp);
    take_accounts(&s->accounts, hashes);
}

/* Finds where the file is, once links are followed: its folder, and its name there. */
static bool open_folder(struct ledger *ledger, const char *path)
{
    char real[PATH_MAX];
    if (!realpath(path, real))
        return false;
    char *slash = strrchr(real, '/');
    snprintf(ledger->name, sizeof ledger->name, "%s", slash + 1);
    snprintf(ledger->aside, sizeof ledger->aside, "%s.new", ledger->name);
    slash[slash == real] = '\0';
    ledger->folder = open(real, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return ledger->folder >= 0;
}

/* Whether the path still leads to the file that was opened, and that is as it was then. */
static bool is_current(const struct ledger *ledger)
{
    struct stamp stamp;
    if (!take_stamp(ledger->folder, ledger->name, &stamp))
        return false;
    errno = EAGAIN;
    return same_stamp(&stamp, &ledger->stamp);
}

/*
 * Opens the file for nobody but this worker: other servers may change it too. Who waited for it may
 * have the old one, so it looks again. It waits for two seconds: a lock that stays shall not keep
 * workers from passwords.
 */
static bool open_locked(struct ledger *ledger)
{
    struct timespec pause = {.tv_nsec = LOCK_PAUSE * 1000000};
    int64_t until = now_ms() + LOCK_WAIT;
    while (now_ms() < until) {
        ledger->file = open_accounts(ledger->folder, ledger->name);
        if (ledger->file < 0 || !take_stamp(ledger->file, "", &ledger->stamp))
            return false;
        if (flock(ledger->file, LOCK_EX | LOCK_NB) == 0 && is_current(ledger))
            return true;
        close(ledger->file);
        ledger->file = -1;
        nanosleep(&pause, NULL);
    }
    errno = EAGAIN;
    return false;
}

/* Changes one line of the text, and lets the others be. A last line without its end gets it. */
static void edit(struct text *text, const struct job *job, const struct account *account)
{
    if (text->length > 0 && text->bytes[text->length - 1] != '\n')
        text->bytes[text->length++] = '\n';
    char *end = text->bytes + text->length;
    if (job->task == REGISTER) {
        text->length += (size_t)sprintf(end, "%s:%s\n", job->name, job->hash);
    } else if (job->task == PASSWD) {
        memcpy(text->bytes + account->at, job->hash, HASH_SIZE);
    } else {
        char *line = text->bytes + account->at - strlen(account->name) - 1;
        char *next = text->bytes + account->at + HASH_SIZE + 1;
        memmove(line, next, (size_t)(end - next));
        text->length -= (size_t)(next - line);
    }
}

static bool write_all(int fd, const struct text *text)
{
    ssize_t n;
    for (size_t written = 0; written < text->length; written += (size_t)n) {
        n = write(fd, text->bytes + written, text->length - written);
        if (n < 0)
            return false;
    }
    return true;
}

/*
 * Writes the new text beside the file. What may be there is left from a server that was killed. It
 * is locked before it is the file, lest another change come in between this one and its result.
 */
static bool write_aside(struct ledger *ledger)
{
    unlinkat(ledger->folder, ledger->aside, 0);
    ledger->fresh = openat(ledger->folder, ledger->aside,
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return ledger->fresh >= 0 && flock(ledger->fresh, LOCK_EX | LOCK_NB) == 0 &&
           fchmod(ledger->fresh, 0600) == 0 && write_all(ledger->fresh, &ledger->text) &&
           fsync(ledger->fresh) == 0;
}

/* Puts the new text in the file's place, in one step (ACCT-5). */
static bool replace_file(struct ledger *ledger)
{
    if (write_aside(ledger) && is_current(ledger) &&
        renameat(ledger->folder, ledger->aside, ledger->folder, ledger->name) == 0) {
        take_stamp(ledger->fresh, "", &ledger->stamp);
        fsync(ledger->folder);
        return true;
    }
    int error = errno;
    unlinkat(ledger->folder, ledger->aside, 0);
    errno = error;
    return false;
}

/*
 * Whether somebody may be writing into the file, who takes no lock. Another file than the one that
 * we know is whole: it was renamed to be this one, as other servers do.
 */
static bool is_being_written(const struct ledger *ledger, const struct stamp *known)
{
    errno = EAGAIN;
    return same_file(&ledger->stamp, known) && !same_stamp(&ledger->stamp, known) &&
           !is_settled(&ledger->stamp);
}

/*
 * Changes the account of a job in the file, as the file is now. The job keeps an error for the log,
 * but not that the file is bad or gone: refresh_accounts tells that.
 */
static enum outcome change_accounts(struct ledger *ledger, struct job *job)
{
    char reason[MAX_REASON];
    if (!open_folder(ledger, job->path) || !open_locked(ledger) ||
        is_being_written(ledger, &job->stamp)) {
        job->error = errno == ENOENT ? 0 : errno;
        return FAILED;
    }
    if (!read_text(ledger->file, &ledger->text, reason) ||
        !parse_accounts(&ledger->text, &job->hashes, reason))
        return FAILED;
    const struct account *account = find_account(job->hashes, job->name);
    if ((account != NULL) == (job->task == REGISTER))
        return REFUSED;
    edit(&ledger->text, job, account);
    tdestroy(job->hashes, free);
    if (parse_accounts(&ledger->text, &job->hashes, reason) && replace_file(ledger)) {
        job->stamp = ledger->stamp;
        return DONE;
    }
    job->error = errno;
    return FAILED;
}

static void close_ledger(struct ledger *ledger)
{
    const int files[] = {ledger->folder, ledger->file, ledger->fresh};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i] >= 0)
            close(files[i]);
    free(ledger->text.bytes);
}

/* What follows is all that needs more than the C library: a build without it has no accounts. */
#ifdef ACCOUNTS

/* Hashes a password, with the salt and the cost of another hash, or with new ones. */
static bool hash_password(const char *password, const char *like, char hash[HASH_SIZE + 1])
{
    char fresh[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data = allocate(sizeof *data);
    if (!like)
        like = crypt_gensalt_rn("$2y$", HASH_COST, NULL, 0, fresh, sizeof fresh);
    const char *made = like ? crypt_r(password, like, data) : NULL;
    bool good = made && *made != '*' && strlen(made) == HASH_SIZE;
    if (good)
        strcpy(hash, made);
    explicit_bzero(data, sizeof *data);
    free(data);
    return good;
}

/* Starts a thread that no signal interrupts: they are the loop's. */
static bool start_thread(void *(*run)(void *), void *argument)
{
    pthread_t thread;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&thread, NULL, run, argument) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (started)
        pthread_detach(thread);
    return started;
}

#else

static bool hash_password(const char *password, const char *like, char hash[HASH_SIZE + 1])
{
    (void)password, (void)like, (void)hash;
    return false;
}

static bool start_thread(void *(*run)(void *), void *argument)
{
    (void)run, (void)argument;
    return false;
}

#endif

/* Compares all of them, whatever differs: how long it takes tells nothing. */
static bool same_hash(const char *a, const char *b)
{
    int differences = 0;
    for (int i = 0; i < HASH_SIZE; i++)
        differences |= a[i] ^ b[i];
    return differences == 0;
}

static enum outcome check_password(const struct job *job)
{
    char hash[HASH_SIZE + 1];
    bool right = hash_password(job->password, job->hash, hash) && same_hash(hash, job->hash);
    return right ? DONE : REFUSED;
}

/* Hashes first, lest the file be locked meanwhile. It is locked until the ledger is closed. */
static void change_account(struct ledger *ledger, struct job *job)
{
    job->outcome = FAILED;
    if (job->task == UNREGISTER || hash_password(job->password, NULL, job->hash))
        job->outcome = change_accounts(ledger, job);
}

/*
 * A worker's life. Whoever else wakes up takes the processor from it (ACCT-7), so it may be stopped
 * at any place; therefore it shares no lock with the loop, and jobs go over a socket. The file
 * is unlocked only when the loop has the job back, so that it learns of changes in their order.
 */
static void *work(void *argument)
{
    int socket = *(int *)argument;
    struct job *job;
    if (nice(WORKER_NICENESS) < 0) { /* of this thread alone; it is only a wish */
    }
    while (recv(socket, &job, sizeof job, 0) == sizeof job) {
        struct ledger ledger = {.folder = -1, .file = -1, .fresh = -1};
        if (job->task == CHECK)
            job->outcome = check_password(job);
        else
            change_account(&ledger, job);
        explicit_bzero(job->password, sizeof job->password);
        send(socket, &job, sizeof job, MSG_NOSIGNAL);
        close_ledger(&ledger);
    }
    return NULL;
}

/* As many workers as there are processors for us. One is enough, where there cannot be more. */
static void start_workers(struct server *s)
{
    struct pool *pool = &s->pool;
    cpu_set_t processors;
    int ends[2];
    int count =
        sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        perror("chat-server: socketpair");
        exit(EXIT_FAILURE);
    }
    pool->ours = ends[0];
    pool->theirs = ends[1];
    while (pool->workers < (size_t)count && start_thread(work, &pool->theirs))
        pool->workers++;
    if (pool->workers == 0) {
        fputs("chat-server: cannot start a thread\n", stderr);
        exit(EXIT_FAILURE);
    }
}

static void free_job(struct job *job)
{
    tdestroy(job->hashes, free);
    explicit_bzero(job, sizeof *job);
    free(job);
}

/* Gives the workers who have nothing to do the jobs that wait. */
static void hand_out_jobs(struct server *s)
{
    struct pool *pool = &s->pool;
    struct job *job;
    while (pool->busy < pool->workers && (job = TAILQ_FIRST(&pool->waiting))) {
        job->stamp = s->accounts.stamp;
        if (send(pool->ours, &job, sizeof job, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
            return;
        TAILQ_REMOVE(&pool->waiting, job, in_jobs);
        TAILQ_INSERT_TAIL(&pool->running, job, in_jobs);
        job->running = true;
        pool->busy++;
    }
}

/* A job that a worker is done with, or NULL. */
static struct job *next_result(struct pool *pool)
{
    struct job *job;
    if (recv(pool->ours, &job, sizeof job, MSG_DONTWAIT) != sizeof job)
        return NULL;
    TAILQ_REMOVE(&pool->running, job, in_jobs);
    pool->busy--;
    return job;
}

static struct member *membership(struct user *user)
{
    if (!user->member)
        user->member = allocate(sizeof *user->member);
    return user->member;
}

/* Whether a worker has a line of the user's to do with, or will have. */
static bool is_busy(const struct user *user)
{
    return user->member && user->member->job;
}

/*
 * Has a worker check a password against an account, or change the one of the user's name. The
 * password does not stay where it came from.
 */
static void start_job(struct server *s, struct user *user, enum task task,
                      const struct account *account, char *password)
{
    struct job *job = allocate(sizeof *job);
    job->task = task;
    job->path = s->options.accounts;
    job->user = user;
    strcpy(job->name, account ? account->name : user->name);
    if (password) {
        strcpy(job->password, password);
        explicit_bzero(password, strlen(password));
    }
    if (account) {
        strcpy(job->hash, account->hash);
        job->born = account->born;
    }
    membership(user)->job = job;
    TAILQ_INSERT_TAIL(&s->pool.waiting, job, in_jobs);
    hand_out_jobs(s);
}

/* The user wants no result any more. A job that has not begun is not done at all. */
static void forget_job(struct server *s, struct user *user)
{
    if (!is_busy(user))
        return;
    struct job *job = user->member->job;
    user->member->job = NULL;
    job->user = NULL;
    if (!job->running) {
        TAILQ_REMOVE(&s->pool.waiting, job, in_jobs);
        free_job(job);
    }
}

/* What has become of the file; it counts, even if who asked for it is gone. */
static void note_change(struct server *s, struct job *job)
{
    static const char *const reasons[] = {
        [REGISTER] = "register", [PASSWD] = "passwd", [UNREGISTER] = "unregister"};
    if (job->outcome == DONE) {
        take_accounts(&s->accounts, job->hashes);
        s->accounts.stamp = job->stamp;
        s->accounts.settled = false; /* somebody may have written into it since */
        job->hashes = NULL;
        if (job->task == REGISTER) /* one of that name that was there before is another one */
            find_account(s->accounts.hashes, job->name)->born = job->born = ++s->accounts.births;
        log_event(
            s, (struct event){.msg = "account", .name = job->name, .reason = reasons[job->task]});
    } else if (job->error) {
        log_error(s, "cannot change accounts %s: %s", job->path, strerror(job->error));
    }
}

/* A password counts only for the account that it was checked for: there may be another one now. */
static void note_check(struct server *s, struct job *job)
{
    const struct account *account = find_account(s->accounts.hashes, job->name);
    if (account && same_hash(account->hash, job->hash))
        job->born = account->born;
    else
        job->outcome = REFUSED;
}

/* Whether the user has given the password of that account, or made it. */
static bool is_verified(const struct user *user, const struct account *account)
{
    const struct member *member = user->member;
    for (size_t i = 0; member && i < member->verified_count; i++)
        if (member->verified[i].born == account->born)
            return true;
    return false;
}

/* Proofs for accounts that are gone are forgotten, lest they become ever more (LIMIT-4). */
static void verify(struct server *s, struct user *user, const struct job *job)
{
    struct member *member = membership(user);
    size_t count = 0;
    for (size_t i = 0; i < member->verified_count; i++) {
        struct proof proof = member->verified[i];
        const struct account *account = find_account(s->accounts.hashes, proof.name);
        if (account && account->born == proof.born && proof.born != job->born)
            member->verified[count++] = proof;
    }
    member->verified = checked(realloc(member->verified, (count + 1) * sizeof *member->verified));
    strcpy(member->verified[count].name, job->name);
    member->verified[count].born = job->born;
    member->verified_count = count + 1;
}

static void free_member(struct member *member)
{
    if (member)
        free(member->verified);
    free(member);
}

/* Whether the user's name is an account, and its own. */
static bool owns_account(const struct server *s, const struct user *user)
{
    const struct account *account = find_account(s->accounts.hashes, user->name);
    return account && is_verified(user, account);
}

/* Tells who has no account, and wants none, that there is no way in (ACCT-3). */
static bool stranger_error(struct server *s, struct user *asker, const char *name)
{
    if (s->options.members_only)
        tell(s, asker, "! name not registered: %s\n", name);
    return s->options.members_only;
}

/* Tells the asker why accounts keep it from changing its name to that; false where they do not. */
static bool account_error(struct server *s, struct user *asker, const char *name)
{
    const struct account *account = find_account(s->accounts.hashes, name);
    if (!account)
        return stranger_error(s, asker, name);
    if (is_verified(asker, account))
        return false;
    tell(s, asker, "! name registered: %s\n", name);
    return true;
}

/* ---- 9. Commands ---------------------------------------------------------------------------- */

/* An entry of a table of commands; in the operator's, user is always NULL. */
struct command {
    const char *word; /* with its slash, in lower case; NULL ends the table */
    void (*run)(struct server *s, struct user *user, char *rest); /* rest: what follows the word */
    bool needs_accounts; /* is unknown without an accounts file */
};

/* Runs the command that a line holds. */
static void run_command(struct server *s, struct user *user, const struct command *table,
                        char *line)
{
    size_t length = strcspn(line, " ");
    for (; table->word; table++)
        if (strlen(table->word) == length && strncasecmp(table->word, line, length) == 0 &&
            (!table->needs_accounts || s->options.accounts)) {
            table->run(s, user, line + length);
            return;
        }
    tell(s, user, "! unknown command: %.*s (try /help)\n", (int)length, line);
}

static void cmd_help(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user,
         "Commands: /help, /who, /msg NAME TEXT, /nick NAME, %s/quit"
         " (// to begin a message with /)\n",
         s->options.accounts ? "/register PASSWORD, /passwd PASSWORD, /unregister, " : "");
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
        log_event(s, (struct event){.msg = "private", .name = user->name, .to = target->name});
        tell(s, target, "(private) %s: %s\n", user->name, text);
    }
}

static void cmd_nick(struct server *s, struct user *user, char *rest)
{
    char old[MAX_NAME + 1];
    char *name = trim(rest);
    refresh_accounts(s);
    if (name_error(s, user, name) || account_error(s, user, name))
        return;
    strcpy(old, user->name);
    tdelete(user, &s->names, compare_users);
    add_name(s, user, name);
    log_event(s, (struct event){.msg = "rename", .name = old, .to = name});
    broadcast(s, NULL, "%s is now known as %s\n", old, name);
}

/* Has a worker do what needs a password, if it is of a length that one may choose. */
static void start_change(struct server *s, struct user *user, enum task task, char *rest)
{
    char *password = rest + strspn(rest, " ");
    size_t length = strlen(password);
    if (length < MIN_PASSWORD || length > MAX_PASSWORD)
        tell(s, user, "! password must be %d to %d bytes\n", MIN_PASSWORD, MAX_PASSWORD);
    else
        start_job(s, user, task, NULL, password);
}

static void cmd_register(struct server *s, struct user *user, char *rest)
{
    refresh_accounts(s);
    if (find_account(s->accounts.hashes, user->name))
        tell(s, user, "! already registered: %s\n", user->name);
    else
        start_change(s, user, REGISTER, rest);
}

static void cmd_passwd(struct server *s, struct user *user, char *rest)
{
    refresh_accounts(s);
    if (!owns_account(s, user))
        tell(s, user, "! not registered: %s\n", user->name);
    else
        start_change(s, user, PASSWD, rest);
}

static void cmd_unregister(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    refresh_accounts(s);
    if (!owns_account(s, user))
        tell(s, user, "! not registered: %s\n", user->name);
    else
        start_job(s, user, UNREGISTER, NULL, NULL);
}

/* Tells what became of a change. The name is still the user's, whose lines have waited. */
static void tell_change(struct server *s, struct user *user, const struct job *job)
{
    if (job->outcome == FAILED)
        tell(s, user, "! accounts cannot be changed now\n");
    else if (job->task == REGISTER && job->outcome == DONE)
        tell(s, user, "Registered %s\n", user->name);
    else if (job->task == REGISTER)
        tell(s, user, "! already registered: %s\n", user->name);
    else if (job->outcome == REFUSED)
        tell(s, user, "! not registered: %s\n", user->name);
    else if (job->task == PASSWD)
        tell(s, user, "Password changed\n");
    else
        tell(s, user, "Unregistered %s\n", user->name);
}

static void cmd_quit(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user, "Goodbye, %s\n", user->name);
    dismiss(s, user, "quit");
}

static const struct command commands[] = {
    {"/help", cmd_help, false},
    {"/who", cmd_who, false},
    {"/msg", cmd_msg, false},
    {"/nick", cmd_nick, false},
    {"/register", cmd_register, true},
    {"/passwd", cmd_passwd, true},
    {"/unregister", cmd_unregister, true},
    {"/quit", cmd_quit, false},
    {NULL, NULL, false},
};

/* ---- 10. Lines to actions ------------------------------------------------------------------- */

/* What every refused name leads to, its error told before: the prompt again, or the end. */
static void refuse_name(struct server *s, struct user *user)
{
    if (++user->refusals < MAX_REFUSALS) {
        tell(s, user, PROMPT);
        return;
    }
    tell(s, user, "! too many attempts\n");
    dismiss(s, user, NULL);
}

/* Lets a user in by a name that is its own, unless another has come by it. */
static void admit(struct server *s, struct user *user, const char *name)
{
    user->phase = NAMING;
    if (name_error(s, user, name)) {
        log_refusal(s, user, "name");
        refuse_name(s, user);
    } else {
        enter(s, user, name);
    }
}

static void ask_password(struct server *s, struct user *user, const char *name)
{
    strcpy(membership(user)->wanted, name);
    user->phase = PASSWORD;
    tell(s, user, PASSWORD_PROMPT);
}

static void handle_name(struct server *s, struct user *user, char *line)
{
    char *name = trim(line);
    refresh_accounts(s);
    bool registered = find_account(s->accounts.hashes, name);
    if (name_error(s, user, name) || (!registered && stranger_error(s, user, name))) {
        log_refusal(s, user, "name");
        refuse_name(s, user);
    } else if (registered) {
        ask_password(s, user, name);
    } else {
        enter(s, user, name);
    }
}

/* What every wrong password leads to, its error told before: the prompt again, or the end. */
static void refuse_password(struct server *s, struct user *user)
{
    if (++user->member->wrong < MAX_WRONG_PASSWORDS) {
        tell(s, user, PASSWORD_PROMPT);
        return;
    }
    tell(s, user, "! too many attempts\n");
    dismiss(s, user, NULL);
}

static void wrong_password(struct server *s, struct user *user)
{
    log_refusal(s, user, "password");
    tell(s, user, "! wrong password\n");
    refuse_password(s, user);
}

/* The line is the password, as it is. Where the account is gone by now, any is wrong. */
static void handle_password(struct server *s, struct user *user, char *password)
{
    const struct account *account = find_account(s->accounts.hashes, user->member->wanted);
    if (strlen(password) > MAX_PASSWORD || !account)
        wrong_password(s, user);
    else
        start_job(s, user, CHECK, account, password);
}

/* What a worker has found out for the user. */
static void handle_result(struct server *s, struct user *user, const struct job *job)
{
    if (job->outcome == DONE && (job->task == CHECK || job->task == REGISTER))
        verify(s, user, job);
    if (job->task != CHECK)
        tell_change(s, user, job);
    else if (job->outcome == DONE)
        admit(s, user, user->member->wanted);
    else
        wrong_password(s, user);
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

/* A message to all but its sender (NULL: the operator). */
static void say(struct server *s, struct user *user, const char *line)
{
    const char *name = user ? user->name : "server";
    const char *text = message_text(line);
    log_event(s, (struct event){.msg = "message", .name = name, .text = text});
    broadcast(s, user, "%s: %s\n", name, text);
}

static void handle_chat(struct server *s, struct user *user, char *line)
{
    if (is_blank(line))
        return;
    if (is_command(line))
        run_command(s, user, commands, line);
    else
        say(s, user, line);
}

static void handle_line(struct server *s, struct user *user, const struct line *line)
{
    const char *error = check_line(line);
    if (error) {
        log_refusal(s, user, "line");
        tell(s, user, "%s", error);
        if (user->phase == NAMING)
            refuse_name(s, user);
        else if (user->phase == PASSWORD)
            refuse_password(s, user);
    } else if (user->phase == NAMING) {
        handle_name(s, user, line->text);
    } else if (user->phase == PASSWORD) {
        handle_password(s, user, line->text);
    } else {
        handle_chat(s, user, line->text);
    }
}

/*
 * Whether the rate lets the user's next line be taken up now (LIMIT-5). Each millisecond brings as
 * many thousandths of a line as the rate has lines a second, so that whole numbers will do.
 */
static bool has_allowance(const struct server *s, struct user *user)
{
    if (s->options.rate == 0 || user->phase != CHATTING)
        return true;
    int64_t elapsed = (int64_t)least((uint64_t)(s->now - user->reckoned), 1000);
    int64_t filled = user->allowance + elapsed * s->options.rate;
    user->allowance = (int64_t)least((uint64_t)filled, (uint64_t)full_allowance(s));
    user->reckoned = s->now;
    return user->allowance >= LINE_COST;
}

/* Every line of a joined user costs the same: an empty one, one with an error, a command. */
static void spend_allowance(const struct server *s, struct user *user)
{
    if (s->options.rate > 0 && user->phase == CHATTING)
        user->allowance -= LINE_COST;
}

/* When a throttled user's next line may be taken up. */
static int64_t next_turn(const struct server *s, const struct user *user)
{
    int64_t missing = LINE_COST - user->allowance;
    return user->reckoned + (missing + s->options.rate - 1) / s->options.rate;
}

/* ---- 11. Console ---------------------------------------------------------------------------- */

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
        dismiss(s, target, "kick");
    }
}

static void op_shutdown(struct server *s, struct user *user, char *rest)
{
    (void)user;
    (void)rest;
    s->stop_asked = true;
}

static const struct command op_commands[] = {
    {"/help", op_help, false},         {"/who", cmd_who, false}, {"/kick", op_kick, false},
    {"/shutdown", op_shutdown, false}, {NULL, NULL, false},
};

static void console_line(struct server *s, const struct line *line)
{
    const char *error = check_line(line);
    if (error)
        tell(s, NULL, "%s", error);
    else if (is_command(line->text))
        run_command(s, NULL, op_commands, line->text);
    else if (!is_blank(line->text))
        say(s, NULL, line->text);
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
    ssize_t n = read(STDIN_FILENO, s->input + kept(&s->console), CONSOLE_SIZE);
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

/* ---- 12. Sockets ---------------------------------------------------------------------------- */

/* Whether the user's lines wait here, and more are read, up to MAX_HELD. */
static bool lines_wait(const struct user *user)
{
    return user->hold == THROTTLED || user->hold == BUSY;
}

/*
 * Asks epoll for the events that matter now; most of the time they are the same as before. Where
 * lines wait, their client may send too much to be read up to its end, so that is asked for.
 */
static void watch(struct server *s, struct user *user)
{
    if (user->phase == GONE)
        return;
    bool waits = lines_wait(user);
    bool reads = user->hold == FREE || (waits && kept(&user->inbox) < MAX_HELD);
    struct epoll_event event = {.events = user->blocked ? (uint32_t)EPOLLOUT : 0, .data.ptr = user};
    if (reads && !user->eof)
        event.events |= EPOLLIN;
    if (waits && user->phase == CHATTING && user->deadlines != &s->draining)
        event.events |= EPOLLRDHUP;
    if (event.events == user->watched)
        return;
    user->watched = event.events;
    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, user->fd, &event);
}

/* Puts a throttled user where its turn is; that is near the end, as nobody's is far off. */
static void throttle(struct server *s, struct user *user)
{
    struct user *before = TAILQ_LAST(&s->throttled, user_list);
    while (before && next_turn(s, before) > next_turn(s, user))
        before = TAILQ_PREV(before, user_list, in_held);
    if (before)
        TAILQ_INSERT_AFTER(&s->throttled, before, user, in_held);
    else
        TAILQ_INSERT_HEAD(&s->throttled, user, in_held);
}

static void set_hold(struct server *s, struct user *user, enum hold hold)
{
    if (user->hold == hold && hold != THROTTLED)
        return;
    if (user->hold == HELD)
        TAILQ_REMOVE(&s->held, user, in_held);
    else if (user->hold == THROTTLED)
        TAILQ_REMOVE(&s->throttled, user, in_held);
    user->hold = hold;
    if (hold == HELD)
        TAILQ_INSERT_TAIL(&s->held, user, in_held);
    else if (hold == THROTTLED)
        throttle(s, user);
}

/*
 * Takes a user out of the room, for a reason that LOG-2 knows, or from the prompt, without one;
 * nothing that it says counts any more.
 */
static void retire(struct server *s, struct user *user, const char *reason)
{
    if (user->phase == CHATTING)
        leave(s, user, reason);
    if (user->phase <= CHATTING)
        s->clients--;
    user->phase = LEAVING;
    forget_job(s, user);
    set_hold(s, user, FREE);
    empty(&user->inbox);
    touch(s, user);
}

/* Ends a connection kindly: its queue goes out first (LEAVE-4). */
static void dismiss(struct server *s, struct user *user, const char *reason)
{
    retire(s, user, reason);
    set_deadline(s, user, &s->lingering);
}

/* Ends a connection now, whatever waits. */
static void drop(struct server *s, struct user *user, const char *reason)
{
    forget_queue(user);
    retire(s, user, reason);
    user->phase = GONE;
    set_deadline(s, user, &s->gone);
}

/*
 * The client has ended its side. Ten seconds remain for what it said, and for its queue; less where
 * it has not joined, and its time to do so is over before (JOIN-8).
 */
static void start_draining(struct server *s, struct user *user)
{
    bool over_before = user->deadlines == &s->joining && user->due <= s->now + s->draining.wait;
    if (user->deadlines != &s->draining && !over_before)
        set_deadline(s, user, &s->draining);
}

/* All that the client sent has been read: lines that wait, and its queue, come first (LEAVE-2). */
static void hang_up(struct server *s, struct user *user)
{
    user->eof = true;
    if (user->phase == LINGERING) {
        drop(s, user, NULL);
    } else if (user->phase != LEAVING) {
        start_draining(s, user);
        if (!has_line(&user->inbox) && !is_busy(user))
            retire(s, user, "eof");
    }
}

/* Ends our side of a connection, now that its queue is out. */
static void end_sending(struct server *s, struct user *user)
{
    if (user->eof) {
        drop(s, user, NULL);
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
 * in memory. Nor while a worker has the line before, so that replies come in order.
 */
static bool may_speak(const struct server *s, const struct user *user)
{
    uint64_t half = (uint64_t)s->options.max_queue / 2;
    return user->phase <= CHATTING && !is_busy(user) && !round_is_full(s) &&
           waiting(s, user) <= half && behind(s, user) <= half;
}

/* Notes what the user's own doing brought it, whose texts came to `before` bytes until then. */
static void note_reply(struct user *user, uint64_t before)
{
    user->reply = user->texts > before ? user->texts - before : 0;
}

/* Acts on the lines from *next to end, as far as may be, and moves *next past them. */
static void take_up(struct server *s, struct user *user, char **next, char *end)
{
    struct line line;
    while (may_speak(s, user) && has_allowance(s, user) &&
           take_line(&user->inbox, next, end, &line)) {
        uint64_t before = user->texts;
        spend_allowance(s, user);
        handle_line(s, user, &line);
        note_reply(user, before);
    }
}

/* Sees what becomes of a user whose lines have been taken up, now that its inbox keeps the rest. */
static void settle_hold(struct server *s, struct user *user)
{
    if (is_busy(user))
        set_hold(s, user, BUSY);
    else if (kept(&user->inbox) > 0 && !may_speak(s, user))
        set_hold(s, user, HELD);
    else if (kept(&user->inbox) > 0 && !has_allowance(s, user))
        set_hold(s, user, THROTTLED);
    else
        set_hold(s, user, FREE);
    if (user->eof && user->hold == FREE)
        retire(s, user, "eof");
}

/* Acts on new bytes, behind what the inbox kept; what must wait goes there. */
static void take_up_new(struct server *s, struct user *user, size_t length)
{
    char *next = s->input;
    char *end = next + unpack(&user->inbox, next) + length;
    take_up(s, user, &next, end);
    if (user->phase > CHATTING)
        return;
    keep(&user->inbox, next, end);
    settle_hold(s, user);
}

/* Acts on what the inbox keeps, in its place. A user who retires meanwhile empties its own. */
static void take_up_kept(struct server *s, struct user *user)
{
    struct inbox mine = user->inbox;
    user->inbox = (struct inbox){.too_long = mine.too_long};
    char *next = mine.bytes + mine.done;
    char *end = mine.bytes + mine.length;
    take_up(s, user, &next, end);
    touch(s, user);
    if (user->phase > CHATTING || next == end) {
        free(mine.bytes);
    } else {
        user->inbox.bytes = mine.bytes;
        user->inbox.length = mine.length;
        user->inbox.done = (uint32_t)(next - mine.bytes);
    }
    if (user->phase <= CHATTING)
        settle_hold(s, user);
}

/* Nothing is read beyond MAX_HELD, together with what waits. */
static void receive(struct server *s, struct user *user)
{
    size_t before = kept(&user->inbox);
    bool waits = lines_wait(user);
    char *start = waits ? s->input : s->input + before;
    ssize_t n = recv(user->fd, start, READ_SIZE - before, 0);
    if (n == 0)
        hang_up(s, user);
    else if (n > 0 && waits)
        keep_more(&user->inbox, start, (size_t)n);
    else if (n > 0 && user->phase <= CHATTING)
        take_up_new(s, user, (size_t)n);
    else if (n < 0 && errno != EAGAIN && errno != EINTR)
        drop(s, user, "reset");
}

/* Of a user whose lines wait, what they say is not worth reading after a reset (LIMIT-5). */
static void user_ready(struct server *s, struct user *user, uint32_t events)
{
    if (user->phase == GONE)
        return; /* dropped earlier in this round */
    bool reads = user->watched & EPOLLIN && user->hold != HELD;
    bool failed = events & (EPOLLERR | EPOLLHUP);
    if (events & EPOLLOUT)
        user->blocked = false;
    if (events & EPOLLRDHUP && user->phase == CHATTING)
        start_draining(s, user);
    if (failed && (!reads || lines_wait(user)))
        drop(s, user, "reset");
    else if (reads && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        receive(s, user);
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

/* The throttled user whose turn has come, or NULL. */
static struct user *due_throttled(const struct server *s)
{
    struct user *first = TAILQ_FIRST(&s->throttled);
    return first && next_turn(s, first) <= s->now ? first : NULL;
}

/* Goes on with the lines that waited, the oldest first, so that everybody gets a turn. */
static void take_turns(struct server *s)
{
    struct user *user, *next;
    for (user = TAILQ_FIRST(&s->held); user; user = next) {
        next = TAILQ_NEXT(user, in_held);
        if (!may_speak(s, user))
            continue;
        take_up_kept(s, user);
    }
    while ((user = due_throttled(s)))
        take_up_kept(s, user);
}

/* Goes on with a user that a worker is done with: its answer first, then the lines that waited. */
static void resume(struct server *s, struct user *user, const struct job *job)
{
    uint64_t before = user->texts;
    user->member->job = NULL;
    handle_result(s, user, job);
    note_reply(user, before);
    touch(s, user);
    if (kept(&user->inbox) > 0)
        take_up_kept(s, user);
    else if (user->phase <= CHATTING)
        settle_hold(s, user);
}

/* What the workers are done with. A change is one, even if who asked for it is gone. */
static void take_results(struct server *s)
{
    struct job *job;
    while ((job = next_result(&s->pool))) {
        if (job->task == CHECK)
            note_check(s, job);
        else
            note_change(s, job);
        if (job->user)
            resume(s, job->user, job);
        free_job(job);
    }
    hand_out_jobs(s);
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
        drop(s, user, "reset");
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
        drop(s, user, "slow"); /* LIMIT-1; not for what its own last line brought it */
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
    free_member(user->member);
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
static void greet(struct server *s, int fd, const union address *address)
{
    struct user *user = allocate(sizeof *user);
    user->fd = fd;
    user->address = *address;
    user->watched = EPOLLIN;
    TAILQ_INSERT_TAIL(&s->users, user, in_users);
    struct epoll_event event = {.events = user->watched, .data.ptr = user};
    bool full = s->clients >= s->options.max_clients;
    s->clients++;
    log_event(s, (struct event){.msg = "connect", .addr = address});
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        drop(s, user, NULL);
    } else if (full) {
        log_refusal(s, user, "full");
        tell(s, user, "! server full\n");
        dismiss(s, user, NULL);
    } else {
        set_deadline(s, user, &s->joining);
        tell(s, user, PROMPT);
        receive(s, user); /* a name that came with the connection needs no answer of its own */
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
        union address address = {0};
        socklen_t length = sizeof address;
        int fd = accept4(s->listener, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            s->accept_failed = false;
            greet(s, fd, &address);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!s->accept_failed)
                log_error(s, "cannot accept connections: %s", strerror(errno));
            s->accept_failed = true;
            watch_listener(s, false);
            return;
        }
    }
}

/* ---- 13. Loop ------------------------------------------------------------------------------- */

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

/* What ends a pending prompt's line before something else is said; no prompt, nothing. */
static const char *prompt_end(const struct user *user)
{
    return user->phase < CHATTING && !is_busy(user) ? "\n" : "";
}

static void expire(struct server *s)
{
    struct user *user;
    while ((user = overdue(s, &s->joining))) {
        log_refusal(s, user, "timeout");
        tell(s, user, "%s! timed out\n", prompt_end(user));
        dismiss(s, user, NULL);
    }
    while ((user = overdue(s, &s->draining)))
        if (user->phase <= CHATTING)
            dismiss(s, user, "eof"); /* it said more than could be taken up by now */
        else
            drop(s, user, NULL);
    while ((user = overdue(s, &s->lingering)))
        drop(s, user, NULL);
    if (s->accept_again && s->accept_again <= s->now && !s->stopping)
        watch_listener(s, true);
}

/* Milliseconds until something is due; -1: nothing is. */
static int next_timeout(const struct server *s)
{
    const struct deadlines *all[] = {&s->joining, &s->lingering, &s->draining};
    const struct user *throttled = TAILQ_FIRST(&s->throttled);
    int64_t due = s->accept_again ? s->accept_again : INT64_MAX;
    if ((s->console_open && s->console_is_file) || held_may_speak(s))
        return 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct user *first = TAILQ_FIRST(&all[i]->users);
        if (first && first->due < due)
            due = first->due;
    }
    if (throttled && next_turn(s, throttled) < due)
        due = next_turn(s, throttled);
    if (due == INT64_MAX)
        return -1;
    int64_t wait = due - now_ms();
    return wait < 0 ? 0 : (int)least((uint64_t)wait, INT32_MAX);
}

/* The sink that an event is about, or NULL. */
static struct sink *find_sink(struct server *s, const void *source)
{
    for (int i = 0; i < SINKS; i++)
        if (source == &s->sinks[i])
            return &s->sinks[i];
    return NULL;
}

/* What the signals have written (on_signal). */
static void read_wake(struct server *s)
{
    char numbers[64];
    ssize_t n = read(s->wake, numbers, sizeof numbers);
    for (ssize_t i = 0; i < n; i++)
        if (numbers[i] == SIGHUP && s->options.log)
            reopen_log(s);
        else
            s->stop_asked = true;
}

static void handle_event(struct server *s, const struct epoll_event *event)
{
    struct sink *sink = find_sink(s, event->data.ptr);
    if (sink)
        sink->blocked = false; /* what waits is written when the round ends */
    else if (event->data.ptr == &s->listener)
        accept_users(s);
    else if (event->data.ptr == &s->wake)
        read_wake(s);
    else if (event->data.ptr == &s->console)
        read_console(s);
    else if (event->data.ptr == &s->pool)
        take_results(s);
    else
        user_ready(s, event->data.ptr, event->events);
}

/* What was said in the round goes out, and those who are gone are buried. */
static void end_round(struct server *s)
{
    flush_all(s);
    reap(s);
    flush_sinks(s);
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
    log_event(s, (struct event){.msg = "shutdown", .addr = &s->address});
    s->stopping = true;
    s->accept_again = 0;
    close(s->listener);
    close_console(s);
    broadcast(s, NULL, "Server is shutting down\n");
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->phase < CHATTING)
            tell(s, user, "%sServer is shutting down\n", prompt_end(user));
        if (user->phase <= CHATTING)
            dismiss(s, user, NULL);
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

/* ---- 14. Start and stop --------------------------------------------------------------------- */

static const char usage[] =
    "usage: chat-server [--host HOST] [--port PORT] [--max-clients N] [--max-queue BYTES]\n"
    "                   [--join-timeout SECONDS] [--quiet] [--rate N] [--log FILE]\n"
    "                   [--accounts FILE] [--members-only] [--help] [--version]\n";

static void print_help(void)
{
    printf("%s\n"
           "A chat server: one room, lines of text over TCP.\n"
           "Nothing is encrypted, passwords neither. On a network that is not yours, put an SSH "
           "tunnel\n"
           "or a TLS proxy before it (README.md tells how).\n\n"
           "  --host HOST             address to listen on (default %s)\n"
           "  --port PORT             port to listen on; 0 picks a free one (default %d)\n"
           "  --max-clients N         connections at a time (default %d)\n"
           "  --max-queue BYTES       bytes that may wait for one user before it is dropped;\n"
           "                          %d or more (default %d)\n"
           "  --join-timeout SECONDS  time to give a name (default %d)\n"
           "  --quiet                 do not print what the room sees (default: print it)\n"
           "  --rate N                lines of one user taken up in a second; the others wait\n"
           "                          (default: no limit)\n"
           "  --log FILE              append what happens to FILE, a JSON object a line; SIGHUP\n"
           "                          opens it anew (default: no log)\n"
           "  --accounts FILE         names that need a password: a file as `htpasswd -B` makes "
           "it\n"
           "  --members-only          let in nobody else\n"
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

static bool set_rate(struct options *options, const char *value)
{
    return parse_number(value, 1, LONG_MAX, &options->rate);
}

static bool set_log(struct options *options, const char *value)
{
    options->log = value;
    return true;
}

static bool set_accounts(struct options *options, const char *value)
{
#ifndef ACCOUNTS
    usage_error("--accounts needs a build with accounts: "
                "gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread");
#endif
    options->accounts = value;
    return true;
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
    {"--rate", set_rate},
    {"--log", set_log},
    {"--accounts", set_accounts},
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
        } else if (strcmp(*word, "--members-only") == 0) {
            options->members_only = true;
        } else {
            word = set_option(options, word);
        }
    }
    if (options->members_only && !options->accounts)
        usage_error("--members-only needs --accounts");
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

static _Noreturn void cannot_listen(const char *host, const char *port, const char *reason)
{
    fputs("cannot listen on ", stderr);
    fprintf(stderr, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
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
static void announce(struct server *s)
{
    char line[MAX_FORMATTED], text[MAX_ADDRESS];
    socklen_t length = sizeof s->address;
    getsockname(s->listener, &s->address.any, &length);
    format_address(text, &s->address);
    snprintf(line, sizeof line, "Listening on %s\n", text);
    log_event(s, (struct event){.msg = "start", .addr = &s->address});
    print_line(s, line, strlen(line));
    flush_sinks(s);
}

static int wake_writer; /* the other end of server.wake; a handler reaches little else */

/* Tells the loop. Nothing can be done here about a failure, and an empty pipe has room. */
static void on_hangup(int number)
{
    int saved = errno;
    char byte = (char)number;
    ssize_t written = write(wake_writer, &byte, 1);
    (void)written;
    errno = saved;
}

static volatile sig_atomic_t hangup_stops; /* SIGHUP is as SIGTERM: there is no log (LOG-4) */

/* The first signal asks the loop to stop; a second one finds the default action (STOP-5). */
static void on_signal(int number)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (hangup_stops)
        signal(SIGHUP, SIG_DFL);
    on_hangup(number);
}

/* SIGHUP opens the log anew, or ends the server too, but not one that nohup(1) made deaf to it. */
static void catch_hangup(const struct server *s)
{
    if (s->options.log) {
        signal(SIGHUP, on_hangup);
    } else if (signal(SIGHUP, on_signal) == SIG_IGN) {
        signal(SIGHUP, SIG_IGN);
    } else {
        hangup_stops = true;
    }
}

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
    signal(SIGXFSZ, SIG_IGN); /* and so is one to a file that may grow no more (LOG-4) */
    signal(SIGTTIN, SIG_IGN); /* in the background, reading the terminal fails instead (OPER-2) */
    signal(SIGTTOU, SIG_IGN); /* and writing there goes on */
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
    catch_hangup(s);
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
    TAILQ_INIT(&s->throttled);
    STAILQ_INIT(&s->touched);
    init_deadlines(&s->joining, s->options.join_timeout);
    init_deadlines(&s->lingering, LINGER_SECONDS * 1000);
    init_deadlines(&s->draining, DRAIN_SECONDS * 1000);
    init_deadlines(&s->gone, 0);
    TAILQ_INIT(&s->pool.waiting);
    TAILQ_INIT(&s->pool.running);
    add_block(&s->stream);
    open_sink(&s->sinks[STANDARD_OUTPUT], "standard output", STDOUT_FILENO);
    open_sink(&s->sinks[STANDARD_ERROR], "standard error", STDERR_FILENO);
    s->sinks[STANDARD_ERROR].told = true; /* where else would that be said */
}

static void start(struct server *s)
{
    load_accounts(s);
    open_log(s);
    catch_signals(s);
    raise_descriptor_limit();
    s->listener = listen_on(&s->options);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0 || watch_source(s, s->listener, EPOLLIN, &s->listener) < 0 ||
        watch_source(s, s->wake, EPOLLIN, &s->wake) < 0) {
        perror("chat-server: epoll");
        exit(EXIT_FAILURE);
    }
    s->console_open = true;
    if (watch_source(s, STDIN_FILENO, EPOLLIN, &s->console) < 0)
        s->console_is_file = true; /* or /dev/null, or what cannot be read and is closed then */
    if (s->options.accounts) {
        start_workers(s);
        watch_source(s, s->pool.ours, EPOLLIN, &s->pool);
    }
    announce(s);
}

/* All that is left when the last user is gone. */
static void finish(struct server *s)
{
    log_event(s, (struct event){.msg = "stop", .addr = &s->address});
    close_sinks(s);
    while (s->stream.head) {
        struct block *block = s->stream.head;
        s->stream.head = block->next;
        free(block);
    }
    free(s->stream.spare);
    tdestroy(s->accounts.hashes, free);
    close(s->epoll_fd);
    close(s->wake);
    close(wake_writer);
}

int main(int argc, char **argv)
{
    static struct server s; /* all zeros, which take no room in the program's file */
    (void)argc;
    s.options = (struct options){.host = HOST,
                                 .port = PORT,
                                 .max_clients = MAX_CLIENTS,
                                 .max_queue = MAX_QUEUE,
                                 .join_timeout = JOIN_SECONDS * 1000};
    open_standard_files();
    parse_options(&s.options, argv + 1);
    init_state(&s);
    start(&s);
    run(&s);
    finish(&s);
    return EXIT_SUCCESS;
}
