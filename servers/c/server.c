/*
 * chat_server: the chat server in C, for Linux. PROTOCOL.md is the contract that it keeps;
 * ids such as JOIN-3 name its rules.
 *
 *     gcc -o chat_server server.c && ./chat_server        (--help says the rest)
 *     gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread        (with accounts)
 *
 * One thread and one epoll loop. What comes in takes one way through this file:
 *
 *     socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
 *
 * Next door: stream.h (what all read), accounts.h (passwords), log.h (what is written down),
 * options.h (the command line).
 *
 * What always holds:
 *  1. Only section 8 receives from, sends to and closes a connection.
 *  2. To speak is to append: to the room's stream, or to one user's queue. No handler sends.
 *  3. No user is freed inside a handler: it is marked as GONE, and reaped at the end of the round.
 *  4. Names are unique, case aside, among those in the room.
 *  5. Text is bytes. A checked line has no NUL in it, so it may be a C string; nothing else may.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
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
#define MAX_NAME            32            /* bytes of a name */
#define MAX_LINE            1024          /* bytes of a line from a client, its end not counted */
#define WHO_LINE            1024          /* bytes of a line of /who, its end not counted */
#define MAX_CLIENTS         10000         /* connections; one more hears that the server is full */
#define MAX_QUEUE           (1024 * 1024) /* bytes that may wait for one user */
#define LEAST_QUEUE         4096          /* the smallest --max-queue: a few lines */
#define MAX_REFUSALS        5             /* refused names on one connection; the last ends it */
#define MIN_PASSWORD        8             /* bytes of a new password */
#define MAX_PASSWORD        72            /* bytes of a password: bcrypt looks at no more */
#define MAX_WRONG_PASSWORDS 3             /* on one connection; the last ends it */
#define JOIN_SECONDS        60            /* for a good name, and its password */
#define LINGER_TIME         1000          /* milliseconds for a connection that the server ends */
#define DRAIN_TIME          10000         /* milliseconds for one whose client has ended its side */
#define FINISH_TIME         500           /* milliseconds for what was read before a signal */
#define SWEEP_TICK          10            /* milliseconds between two looks at all deadlines */
#define ACCEPT_PAUSE        100           /* milliseconds without accepting, out of descriptors */
#define ACCEPT_BATCH        64            /* connections accepted in one round */
#define EVENT_BATCH         256           /* events taken from the kernel in one round */
#define BACKLOG             4096          /* connections that may wait to be accepted */
#define MAX_HELD            (64 * 1024)   /* bytes of one user's input that wait here */
#define LINE_COST           1000          /* what a line takes from a user's allowance (LIMIT-5) */
#define ROUND_SIZE          (256 * 1024)  /* bytes said in a round, before everybody is sent them */
#define MAX_PIECES          64            /* pieces of memory handed to the kernel in one call */
#define MAX_FORMATTED       1200          /* bytes of a line from here: a text and a name */
#define NEVER               INT64_MAX     /* a deadline that does not come */

#define PROMPT          "Enter your screen name: "
#define PASSWORD_PROMPT "Password: "

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* What has come from a peer and is not acted on yet. It has memory only while there is something.
 */
struct inbox {
    char *bytes;
    uint32_t length; /* bytes there */
    uint32_t done;   /* how many of them, the first ones, were acted on */
    bool too_long;   /* inside a line that is too long: its bytes are thrown away up to its end */
};

/* One line as it came. */
struct line {
    char *text;    /* its bytes, then a NUL in place of the line end */
    size_t length; /* bytes, the NUL not counted */
    bool too_long; /* over MAX_LINE; text is not all of it then */
};

/* A connection's life, in this order; steps may be left out. */
enum phase {
    NAMING,    /* is asked for a name */
    PASSWORD,  /* has given a registered one, and is asked for its password */
    CHATTING,  /* in the room */
    LEAVING,   /* out of the room; its queue goes out, what comes is thrown away */
    LINGERING, /* all is sent and our side has ended; waits for the end of the other side */
    GONE,      /* is reaped at the end of this round */
};

/* Whether a user's next line is taken up now, and if not, why. */
enum gate {
    OPEN,      /* it is */
    FULL,      /* too much waits to be sent to it (LIMIT-6) */
    THROTTLED, /* it has said too much (LIMIT-5) */
    BUSY,      /* accounts are at work for its last line (ACCT-10, ACCT-12) */
    CLOSED,    /* it is leaving */
};

/* Sizes and bookkeeping that need no more than the C library; the units build on them. */
static void *checked(void *memory);
static void *allocate(size_t size);
static uint64_t least(uint64_t a, uint64_t b);
static int64_t now_ms(void);
static size_t character_length(char byte);
static bool decode(const char *bytes, size_t length, uint32_t *code);
static bool is_control(uint32_t code);
static bool name_is_valid(const char *name);

#include "log.h"
#include "options.h"
#include "stream.h"

#ifdef ACCOUNTS
#include "accounts.h"

/* What accounts are to one user. Most users have none of this. */
struct member {
    struct job *job;                 /* what is done for its last line, or NULL */
    char wanted[MAX_NAME + 1];       /* the name whose password it was asked for */
    char proven[MAX_NAME + 1];       /* the account that it has proven (ACCT-5), or empty */
    char proven_hash[HASH_SIZE + 1]; /* and the hash that was */
    int64_t left;                    /* of its time for joining, while a check runs (JOIN-8) */
    unsigned char wrong;             /* wrong passwords so far */
};
#endif

/* One connection, from accept to close. */
struct user {
    int fd;
    enum phase phase : 8;
    bool eof;                /* its side has ended, and all that it sent was read */
    bool ending;             /* its side has ended */
    bool blocked;            /* the kernel takes no more; EPOLLOUT will tell */
    bool touched;            /* is on the list of those to look at when the round ends */
    bool in_turn;            /* is on the list of those with lines to take up */
    unsigned char refusals;  /* names refused so far */
    char name[MAX_NAME + 1]; /* as typed; empty before it has joined */
    uint32_t watched;        /* the epoll events asked for at present */
    union address address;   /* where it comes from */
    int64_t deadline;        /* when its time is up, as now_ms counts; or NEVER */
    int64_t due;             /* when its next line may be taken up; or NEVER */
    int64_t allowance;       /* for lines to be taken up at once, LINE_COST for each */
    int64_t reckoned;        /* when that was reckoned */
    uint64_t reply;          /* bytes that its own last line brought it */
    struct inbox inbox;
    struct cursor cursor; /* what is to be sent to it */
#ifdef ACCOUNTS
    struct member *member;
#endif
    TAILQ_ENTRY(user) in_users;
    TAILQ_ENTRY(user) in_turns;
    STAILQ_ENTRY(user) in_touched;
};

TAILQ_HEAD(user_list, user);

/* Everything there is. */
struct server {
    struct options options;
    struct sinks sinks;          /* for the operator, and the log */
    struct stream stream;        /* what the room sees */
    int epoll_fd;                /* what the loop waits on */
    int listener;                /* accepts connections, until the server stops */
    int wake;                    /* read end of the pipe that a signal writes to */
    union address address;       /* where it listens */
    struct inbox console;        /* what the operator typed */
    bool console_open;           /* standard input has not ended yet */
    bool console_is_file;        /* epoll refuses a file, which is always ready */
    bool stop_asked;             /* by a signal or the operator; the loop does it */
    bool stopping;               /* everybody has been dismissed */
    bool accept_failed;          /* since the last newcomer; it is logged once */
    int64_t now;                 /* the time of this round, as now_ms counts */
    int64_t accept_again;        /* when to watch the listener again; or NEVER */
    int64_t next_sweep;          /* when the first of all deadlines is past; or NEVER */
    int64_t last_sweep;          /* when all were looked at */
    struct user_list users;      /* every connection */
    struct user_list turns;      /* those with lines to take up, the oldest first */
    STAILQ_HEAD(, user) touched; /* those to look at when the round ends */
    long clients;                /* connections that count for LIMIT-2 */
    size_t online;               /* users in the room */
    void *names;                 /* tsearch tree of those, by name, case aside */
    uint64_t flushed;            /* where the stream ended when all were last sent it */
    size_t round_size;           /* bytes said in this round */
#ifdef ACCOUNTS
    struct accounts accounts;
#endif
};

static void dismiss(struct server *s, struct user *user, const char *reason);

/* Ends the program where there is no memory: to go on without would be harder to notice. */
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

/* ---- 3. Lines ------------------------------------------------------------------------------- */

static size_t kept(const struct inbox *inbox)
{
    return inbox->length - inbox->done;
}

static void empty(struct inbox *inbox)
{
    free(inbox->bytes);
    inbox->bytes = NULL;
    inbox->length = inbox->done = 0;
}

/* Room for MAX_HELD bytes in all, and gives how many more may be read. */
static size_t make_room(struct inbox *inbox)
{
    if (!inbox->bytes)
        inbox->bytes = checked(malloc(MAX_HELD));
    return MAX_HELD - inbox->length;
}

/* Frees what was acted on, and all memory where nothing is left. */
static void pack(struct inbox *inbox)
{
    size_t left = kept(inbox);
    if (left == 0) {
        empty(inbox);
        return;
    }
    if (inbox->done > 0)
        memmove(inbox->bytes, inbox->bytes + inbox->done, left);
    inbox->length = (uint32_t)left;
    inbox->done = 0;
}

static bool has_line(const struct inbox *inbox)
{
    return kept(inbox) > 0 && memchr(inbox->bytes + inbox->done, '\n', kept(inbox));
}

/* Whether there is something for take_line to do: of a line that is too long, a full inbox. */
static bool has_work(const struct inbox *inbox)
{
    return has_line(inbox) || kept(inbox) >= MAX_HELD;
}

/*
 * Takes the first whole line; false where there is none yet. Of a line that can only be too long,
 * nothing is kept while it comes (LIMIT-4); the one byte more may be the CR of its end.
 */
static bool take_line(struct inbox *inbox, struct line *line)
{
    char *start = inbox->bytes + inbox->done;
    char *lf = kept(inbox) > 0 ? memchr(start, '\n', kept(inbox)) : NULL;
    if (!lf) {
        inbox->too_long = inbox->too_long || kept(inbox) > MAX_LINE + 1;
        if (inbox->too_long)
            inbox->done = inbox->length;
        return false;
    }
    line->text = start;
    line->length = (size_t)(lf - start);
    if (line->length > 0 && lf[-1] == '\r')
        line->length--;
    line->text[line->length] = '\0';
    line->too_long = inbox->too_long || line->length > MAX_LINE;
    inbox->too_long = false;
    inbox->done = (uint32_t)(lf + 1 - inbox->bytes);
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

/* How many bytes of plain ASCII come first, with which nothing is wrong: mostly that is all. */
static size_t plain_length(const char *text)
{
    size_t length = 0;
    while (text[length] >= ' ' && text[length] < 0x7F)
        length++;
    return length;
}

/* What is wrong with a line, as its sender is told; NULL where nothing is (FRAME-4 to FRAME-6). */
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

/* ---- 4. Room -------------------------------------------------------------------------------- */

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

/* Has the user looked at when the round ends: what waits for it is sent. */
static void touch(struct server *s, struct user *user)
{
    if (user->touched)
        return;
    user->touched = true;
    STAILQ_INSERT_TAIL(&s->touched, user, in_touched);
}

static size_t __attribute__((format(printf, 2, 0)))
format_line(char line[MAX_FORMATTED], const char *format, va_list arguments)
{
    int length = vsnprintf(line, MAX_FORMATTED, format, arguments);
    return least((size_t)length, MAX_FORMATTED - 1);
}

/* A line to all in the room but its sender (or NULL), and to the operator. */
static void __attribute__((format(printf, 3, 4)))
broadcast(struct server *s, struct user *sender, const char *format, ...)
{
    char line[MAX_FORMATTED];
    va_list arguments;
    va_start(arguments, format);
    size_t length = format_line(line, format, arguments);
    va_end(arguments);
    if (sender)
        skip(&s->stream, &sender->cursor, length);
    stream_append(&s->stream, line, length);
    s->round_size += length;
    if (!s->options.quiet)
        put(&s->sinks, STANDARD_OUTPUT, line, length);
}

/* A text to one user alone; to the operator where user is NULL. */
static void __attribute__((format(printf, 3, 4)))
tell(struct server *s, struct user *user, const char *format, ...)
{
    char line[MAX_FORMATTED];
    va_list arguments;
    va_start(arguments, format);
    size_t length = format_line(line, format, arguments);
    va_end(arguments);
    if (!user) {
        put(&s->sinks, STANDARD_OUTPUT, line, length);
        return;
    }
    insert(&s->stream, &user->cursor, line, length);
    s->round_size += length;
    touch(s, user);
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

/* Whether a name is an account. */
static bool is_registered(const struct server *s, const char *name)
{
#ifdef ACCOUNTS
    return hash_of(&s->accounts, name) != NULL;
#else
    (void)s, (void)name;
    return false;
#endif
}

/* Why the asker cannot have the name, a format with the name in it; NULL where it can. */
static const char *name_error(const struct server *s, const struct user *asker, const char *name)
{
    if (!name_is_valid(name))
        return "! invalid name: use 1 to 32 letters, digits, \"_\" or \"-\"\n";
    if (name_in_use(s, asker, name))
        return "! name in use: %s\n";
    if (s->options.members_only && !is_registered(s, name))
        return "! name not registered: %s\n";
    return NULL;
}

static void log_about(struct server *s, const struct user *user, const char *msg,
                      const char *reason)
{
    const char *name = user->name[0] != '\0' ? user->name : NULL;
    const char *level = strcmp(msg, "refuse") == 0 ? "WARN" : NULL;
    log_event(
        &s->sinks,
        (struct event){
            .level = level, .msg = msg, .name = name, .addr = &user->address, .reason = reason});
}

/* The newcomer's place is behind its own join notice, so that it sees the room from then on. */
static void enter(struct server *s, struct user *user, const char *name)
{
    user->deadline = user->ending ? user->deadline : NEVER;
    add_name(s, user, name);
    user->phase = CHATTING;
    user->allowance = (int64_t)s->options.rate * LINE_COST;
    user->reckoned = s->now;
    s->online++;
    log_about(s, user, "join", NULL);
    broadcast(s, NULL, "%s has joined the chat\n", name);
    attach(&s->stream, &user->cursor);
    tell(s, user, "Welcome, %s (%zu online). Type /help for commands.\n", name, s->online);
}

/* What waits for the user can still go out, but nothing that is said from now on. */
static void leave(struct server *s, struct user *user, const char *reason)
{
    tdelete(user, &s->names, compare_users);
    s->online--;
    if (s->stopping)
        return; /* STOP-2: no notices */
    detach(&s->stream, &user->cursor);
    log_about(s, user, "leave", reason);
    broadcast(s, NULL, "%s has left the chat\n", user->name);
}

/* ---- 5. Commands ---------------------------------------------------------------------------- */

/* An entry of a table of commands; in the operator's, user is always NULL. */
struct command {
    const char *word; /* with its slash, in lower case; NULL ends the table */
    void (*run)(struct server *s, struct user *user, char *rest); /* rest: what follows the word */
};

/* Runs the command that a line holds; false where the table has none. */
static bool run_command(struct server *s, struct user *user, const struct command *table,
                        char *line)
{
    size_t length = strcspn(line, " ");
    for (; table->word; table++)
        if (strlen(table->word) == length && strncasecmp(table->word, line, length) == 0) {
            table->run(s, user, line + length);
            return true;
        }
    return false;
}

static void unknown_command(struct server *s, struct user *user, const char *line)
{
    tell(s, user, "! unknown command: %.*s (try /help)\n", (int)strcspn(line, " "), line);
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

/* All in the room, on as many lines as that takes (CMD-2). */
static void who_lines(struct server *s, struct user *asker)
{
    struct who who = {.s = s, .asker = asker};
    who.start = (size_t)snprintf(who.line, sizeof who.line, "Online (%zu): ", s->online);
    who.length = who.start;
    twalk_r(s->names, who_name, &who);
    tell(s, asker, "%s\n", who.line);
}

static void cmd_who(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    who_lines(s, user);
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
        log_event(&s->sinks,
                  (struct event){.msg = "private", .name = user->name, .to = target->name});
        tell(s, target, "(private) %s: %s\n", user->name, text);
    }
}

static bool has_proven(const struct server *s, const struct user *user, const char *name);

static void cmd_nick(struct server *s, struct user *user, char *rest)
{
    char old[MAX_NAME + 1];
    char *name = trim(rest);
    const char *error = name_error(s, user, name);
    if (!error && is_registered(s, name) && !has_proven(s, user, name))
        error = "! name registered: %s\n";
    if (error) {
        tell(s, user, error, name);
        return;
    }
    strcpy(old, user->name);
    tdelete(user, &s->names, compare_users);
    add_name(s, user, name);
    log_event(&s->sinks, (struct event){.msg = "rename", .name = old, .to = name});
    broadcast(s, NULL, "%s is now known as %s\n", old, name);
}

static void cmd_quit(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user, "Goodbye, %s\n", user->name);
    dismiss(s, user, "quit");
}

static const struct command commands[] = {
    {"/help", cmd_help}, {"/who", cmd_who},   {"/msg", cmd_msg},
    {"/nick", cmd_nick}, {"/quit", cmd_quit}, {NULL, NULL},
};

#ifdef ACCOUNTS

static struct member *membership(struct user *user)
{
    if (!user->member)
        user->member = allocate(sizeof *user->member);
    return user->member;
}

/* Whether the name is the account that this connection has proven (ACCT-5). */
static bool has_proven(const struct server *s, const struct user *user, const char *name)
{
    const struct member *member = user->member;
    const char *hash = hash_of(&s->accounts, name);
    return member && hash && strcasecmp(member->proven, name) == 0 &&
           same_hash(member->proven_hash, hash);
}

/* Has the account of the user's name changed; the answer comes when that is done. */
static void start_change(struct server *s, struct user *user, enum task task, char *password)
{
    struct job *job = change(&s->accounts, user, task, user->name, password);
    if (job)
        membership(user)->job = job;
    else
        tell(s, user, "! accounts cannot be changed now\n");
}

/* Likewise with the password that follows a command, if that may be one. */
static void set_password(struct server *s, struct user *user, enum task task, char *rest)
{
    char *password = rest + strspn(rest, " ");
    size_t length = strlen(password);
    if (length < MIN_PASSWORD || length > MAX_PASSWORD)
        tell(s, user, "! password must be %d to %d bytes\n", MIN_PASSWORD, MAX_PASSWORD);
    else
        start_change(s, user, task, password);
}

static void cmd_register(struct server *s, struct user *user, char *rest)
{
    if (is_registered(s, user->name))
        tell(s, user, "! already registered: %s\n", user->name);
    else
        set_password(s, user, REGISTER, rest);
}

static void cmd_passwd(struct server *s, struct user *user, char *rest)
{
    if (!has_proven(s, user, user->name))
        tell(s, user, "! not registered: %s\n", user->name);
    else
        set_password(s, user, PASSWD, rest);
}

static void cmd_unregister(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    char none[] = "";
    if (!has_proven(s, user, user->name))
        tell(s, user, "! not registered: %s\n", user->name);
    else
        start_change(s, user, UNREGISTER, none);
}

/* The connection has proven this account, and no other any more. */
static void prove(struct user *user, const struct job *job)
{
    strcpy(user->member->proven, job->name);
    strcpy(user->member->proven_hash, job->hash);
}

/* Tells a user what came of its change. The name is still the user's, whose lines have waited. */
static void account_changed(struct server *s, struct user *user, const struct job *job)
{
    bool done = job->outcome == DONE;
    if (done && job->task != UNREGISTER)
        prove(user, job);
    if (job->outcome == FAILED)
        tell(s, user, "! accounts cannot be changed now\n");
    else if (job->task == REGISTER)
        tell(s, user, done ? "Registered %s\n" : "! already registered: %s\n", user->name);
    else if (!done)
        tell(s, user, "! not registered: %s\n", user->name);
    else if (job->task == PASSWD)
        tell(s, user, "Password changed\n");
    else
        tell(s, user, "Unregistered %s\n", user->name);
}

static const struct command account_commands[] = {
    {"/register", cmd_register},
    {"/passwd", cmd_passwd},
    {"/unregister", cmd_unregister},
    {NULL, NULL},
};

#else

static bool has_proven(const struct server *s, const struct user *user, const char *name)
{
    (void)s, (void)user, (void)name;
    return false;
}

static const struct command account_commands[] = {{NULL, NULL}};

#endif

/* ---- 6. Lines to actions -------------------------------------------------------------------- */

static void log_refusal(struct server *s, const struct user *user, const char *reason)
{
    log_event(
        &s->sinks,
        (struct event){.level = "WARN", .msg = "refuse", .addr = &user->address, .reason = reason});
}

/* Asks for a name again, but not for ever (JOIN-7). */
static void refuse_name(struct server *s, struct user *user)
{
    if (++user->refusals < MAX_REFUSALS) {
        tell(s, user, PROMPT);
        return;
    }
    tell(s, user, "! too many attempts\n");
    dismiss(s, user, NULL);
}

#ifdef ACCOUNTS

static bool is_busy(const struct user *user)
{
    return user->member && user->member->job;
}

/* Asks for a password again, but not for ever (ACCT-2). */
static void refuse_password(struct server *s, struct user *user)
{
    if (++membership(user)->wrong < MAX_WRONG_PASSWORDS) {
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

static void ask_password(struct server *s, struct user *user, const char *name)
{
    strcpy(membership(user)->wanted, name);
    user->phase = PASSWORD;
    tell(s, user, PASSWORD_PROMPT);
}

/* The line is the password as it stands. Meanwhile the time for joining stops (JOIN-8). */
static void handle_password(struct server *s, struct user *user, char *password)
{
    struct member *member = user->member;
    if (strlen(password) > MAX_PASSWORD || !is_registered(s, member->wanted)) {
        wrong_password(s, user);
        return;
    }
    member->job = check(&s->accounts, user, member->wanted, password);
    if (!user->ending) {
        member->left = user->deadline - s->now;
        user->deadline = NEVER;
    }
}

/* A name that has come into use meanwhile is a refused one (ACCT-4). */
static void admit(struct server *s, struct user *user, const char *name)
{
    const char *error = name_error(s, user, name);
    user->phase = NAMING;
    if (!error) {
        enter(s, user, name);
        return;
    }
    log_refusal(s, user, "name");
    tell(s, user, error, name);
    refuse_name(s, user);
}

static void set_deadline(struct server *s, struct user *user, int64_t deadline);

static void password_checked(struct server *s, struct user *user, const struct job *job)
{
    if (!user->ending)
        set_deadline(s, user, s->now + user->member->left);
    if (job->outcome != DONE) {
        wrong_password(s, user);
        return;
    }
    prove(user, job);
    admit(s, user, user->member->wanted);
}

#else

static bool is_busy(const struct user *user)
{
    (void)user;
    return false;
}

#endif

static void handle_name(struct server *s, struct user *user, char *line)
{
    char *name = trim(line);
    const char *error = name_error(s, user, name);
    if (error) {
        log_refusal(s, user, "name");
        tell(s, user, error, name);
        refuse_name(s, user);
#ifdef ACCOUNTS
    } else if (is_registered(s, name)) {
        ask_password(s, user, name);
#endif
    } else {
        enter(s, user, name);
    }
}

static bool is_command(const char *line)
{
    return line[0] == '/' && line[1] != '/';
}

/* A message to all but its sender (NULL: the operator). Of `//`, the first is removed (CHAT-5). */
static void say(struct server *s, struct user *user, const char *line)
{
    const char *name = user ? user->name : "server";
    const char *text = line[0] == '/' ? line + 1 : line;
    log_event(&s->sinks, (struct event){.msg = "message", .name = name, .text = text});
    broadcast(s, user, "%s: %s\n", name, text);
}

static void handle_command(struct server *s, struct user *user, char *line)
{
    if (!run_command(s, user, commands, line) &&
        !(s->options.accounts && run_command(s, user, account_commands, line)))
        unknown_command(s, user, line);
}

static void handle_chat(struct server *s, struct user *user, char *line)
{
    if (is_blank(line))
        return;
    if (is_command(line))
        handle_command(s, user, line);
    else
        say(s, user, line);
}

/* A line with a mistake in it; where a prompt was pending, it counts for that (FRAME-10). */
static void refuse_line(struct server *s, struct user *user, const char *error)
{
    log_refusal(s, user, "line");
    tell(s, user, "%s", error);
    if (user->phase == NAMING)
        refuse_name(s, user);
#ifdef ACCOUNTS
    else if (user->phase == PASSWORD)
        refuse_password(s, user);
#endif
}

static void handle_line(struct server *s, struct user *user, const struct line *line)
{
    const char *error = check_line(line);
    if (error)
        refuse_line(s, user, error);
    else if (user->phase == NAMING)
        handle_name(s, user, line->text);
#ifdef ACCOUNTS
    else if (user->phase == PASSWORD)
        handle_password(s, user, line->text);
#endif
    else
        handle_chat(s, user, line->text);
}

/*
 * Whether the rate lets the user's next line be taken up now (LIMIT-5). Each millisecond brings as
 * many thousandths of a line as the rate has lines a second, so that whole numbers will do.
 */
static bool has_allowance(const struct server *s, struct user *user)
{
    int64_t full = (int64_t)s->options.rate * LINE_COST;
    if (full == 0 || user->phase != CHATTING)
        return true;
    int64_t elapsed = (int64_t)least((uint64_t)(s->now - user->reckoned), 1000);
    user->allowance += elapsed * s->options.rate;
    user->allowance = user->allowance < full ? user->allowance : full;
    user->reckoned = s->now;
    return user->allowance >= LINE_COST;
}

/* Whether the user's next line is taken up now, and if not, why. */
static enum gate gate(const struct server *s, struct user *user)
{
    uint64_t half = (uint64_t)s->options.max_queue / 2;
    if (user->phase > CHATTING)
        return CLOSED;
    if (is_busy(user))
        return BUSY;
    if (waiting(&s->stream, &user->cursor) > half || behind(&s->stream, &user->cursor) > half)
        return FULL;
    return has_allowance(s, user) ? OPEN : THROTTLED;
}

/* Whether so much was said in this round that all must first be sent it: one who reads well could
 * be dropped otherwise, without having been given a chance to. */
static bool round_is_full(const struct server *s)
{
    return s->round_size > least(ROUND_SIZE, (uint64_t)s->options.max_queue / 2);
}

/* Bytes of its own that wait for the user; see user.reply. */
static uint64_t own_bytes(const struct user *user)
{
    return user->cursor.texts + user->cursor.costs;
}

static void note_reply(struct user *user, uint64_t before)
{
    user->reply = own_bytes(user) > before ? own_bytes(user) - before : 0;
}

static void retire(struct server *s, struct user *user, const char *reason);
static void set_due(struct server *s, struct user *user);

/* Gives the user a turn in the next round. */
static void give_turn(struct server *s, struct user *user)
{
    if (user->in_turn)
        return;
    user->in_turn = true;
    TAILQ_INSERT_TAIL(&s->turns, user, in_turns);
}

/* Sees what becomes of a user whose lines were taken up as far as that may be. */
static void after_lines(struct server *s, struct user *user)
{
    if (user->phase > CHATTING)
        return;
    enum gate state = gate(s, user);
    pack(&user->inbox);
    if (user->eof && state != BUSY && !has_line(&user->inbox))
        retire(s, user, "eof");
    else if (state == OPEN && has_work(&user->inbox))
        give_turn(s, user);
    else if (state == THROTTLED && kept(&user->inbox) > 0)
        set_due(s, user);
}

/* Acts on the user's whole lines, while it and this round can bear what comes of them. */
static void take_up(struct server *s, struct user *user)
{
    struct line line;
    while (!round_is_full(s) && gate(s, user) == OPEN && take_line(&user->inbox, &line)) {
        uint64_t before = own_bytes(user);
        if (s->options.rate > 0 && user->phase == CHATTING)
            user->allowance -= LINE_COST;
        handle_line(s, user, &line);
        note_reply(user, before);
    }
    after_lines(s, user);
    touch(s, user);
}

/* ---- 7. Console ----------------------------------------------------------------------------- */

static void op_help(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user,
         "Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n");
}

static void op_who(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    who_lines(s, user);
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
    (void)user, (void)rest;
    s->stop_asked = true;
}

static const struct command op_commands[] = {
    {"/help", op_help},         {"/who", op_who}, {"/kick", op_kick},
    {"/shutdown", op_shutdown}, {NULL, NULL},
};

/* An announcement or a command. */
static void console_line(struct server *s, const struct line *line)
{
    const char *error = check_line(line);
    if (error)
        tell(s, NULL, "%s", error);
    else if (!is_command(line->text) && !is_blank(line->text))
        say(s, NULL, line->text);
    else if (is_command(line->text) && !run_command(s, NULL, op_commands, line->text))
        unknown_command(s, NULL, line->text);
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
    size_t room = make_room(&s->console);
    ssize_t n = read(STDIN_FILENO, s->console.bytes + s->console.length, least(room, 4096));
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return;
    if (n <= 0) {
        close_console(s);
        return;
    }
    s->console.length += (uint32_t)n;
    while (!s->stop_asked && take_line(&s->console, &line))
        console_line(s, &line);
    pack(&s->console);
}

/* ---- 8. Sockets ----------------------------------------------------------------------------- */

/* The user's time is up then; the loop looks at it when the first of all deadlines is past. */
static void set_deadline(struct server *s, struct user *user, int64_t deadline)
{
    user->deadline = deadline;
    if (deadline < s->next_sweep)
        s->next_sweep = deadline;
}

/* When a throttled user's next line may be taken up. */
static void set_due(struct server *s, struct user *user)
{
    int64_t missing = LINE_COST - user->allowance;
    user->due = user->reckoned + (missing + s->options.rate - 1) / s->options.rate;
    if (user->due < s->next_sweep)
        s->next_sweep = user->due;
}

/*
 * Asks epoll for the events that matter now; most of the time they are the same as before. Where
 * a client has sent more than is read, its end is asked for by itself.
 */
static void watch(struct server *s, struct user *user)
{
    if (user->phase == GONE)
        return;
    bool has_room = kept(&user->inbox) < MAX_HELD;
    struct epoll_event event = {.events = user->blocked ? (uint32_t)EPOLLOUT : 0, .data.ptr = user};
    if (has_room && !user->eof)
        event.events |= EPOLLIN;
    if (!has_room && !user->ending)
        event.events |= EPOLLRDHUP;
    if (event.events != user->watched) {
        user->watched = event.events;
        epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, user->fd, &event);
    }
    if (has_work(&user->inbox) && gate(s, user) == OPEN)
        give_turn(s, user);
}

/* What accounts do for the user is not wanted any more. */
static void forget_job(struct server *s, struct user *user)
{
#ifdef ACCOUNTS
    if (!is_busy(user))
        return;
    forget(&s->accounts, user->member->job);
    user->member->job = NULL;
#else
    (void)s, (void)user;
#endif
}

static void take_turn_away(struct server *s, struct user *user)
{
    user->due = NEVER;
    if (user->in_turn)
        TAILQ_REMOVE(&s->turns, user, in_turns);
    user->in_turn = false;
}

/*
 * Takes a user out of the room, for a reason that LOG-2 knows, or from the prompt, without one;
 * what it says does not count any more.
 */
static void retire(struct server *s, struct user *user, const char *reason)
{
    bool was_in = user->phase == CHATTING;
    user->phase = user->phase > LEAVING ? user->phase : LEAVING;
    if (was_in)
        leave(s, user, reason);
    forget_job(s, user);
    take_turn_away(s, user);
    empty(&user->inbox);
    touch(s, user);
}

/* Ends a connection kindly: its queue goes out first (LEAVE-4). */
static void dismiss(struct server *s, struct user *user, const char *reason)
{
    retire(s, user, reason);
    set_deadline(s, user, s->now + LINGER_TIME);
}

/* Ends a connection now, whatever waits. */
static void drop(struct server *s, struct user *user, const char *reason)
{
    if (user->phase < LINGERING)
        s->clients--;
    forget_queue(&user->cursor);
    retire(s, user, reason);
    forget_queue(&user->cursor);
    user->phase = GONE;
    user->deadline = NEVER;
}

/* The client ends its side: ten seconds remain for what it said, and for its queue (LEAVE-2). */
static void start_draining(struct server *s, struct user *user)
{
    if (!user->ending && user->deadline > s->now + DRAIN_TIME)
        set_deadline(s, user, s->now + DRAIN_TIME);
    user->ending = true;
}

/* All that the client sent was read. */
static void hang_up(struct server *s, struct user *user)
{
    user->eof = true;
    if (user->phase == LINGERING) {
        drop(s, user, NULL);
    } else if (user->phase < LEAVING) {
        start_draining(s, user);
        after_lines(s, user);
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
    s->clients--;
}

/* Receives once, up to MAX_HELD bytes with those that wait. */
static void receive(struct server *s, struct user *user)
{
    size_t room = make_room(&user->inbox);
    ssize_t n = room == 0 ? 0 : recv(user->fd, user->inbox.bytes + user->inbox.length, room, 0);
    if (n > 0 && user->phase <= CHATTING) {
        user->inbox.length += (uint32_t)n;
        take_up(s, user);
    } else {
        int error = errno;
        pack(&user->inbox);
        if (n == 0 && room > 0)
            hang_up(s, user);
        else if (n < 0 && error != EAGAIN && error != EINTR)
            drop(s, user, "reset");
    }
}

/* What a socket is ready for. After a reset, lines that wait are not taken up (LIMIT-5). */
static void user_ready(struct server *s, struct user *user, uint32_t events)
{
    if (user->phase == GONE)
        return; /* dropped earlier in this round */
    bool failed = events & (EPOLLERR | EPOLLHUP);
    if (events & EPOLLOUT)
        user->blocked = false;
    if (events & EPOLLRDHUP)
        start_draining(s, user);
    if (failed && (!(user->watched & EPOLLIN) || kept(&user->inbox) > 0))
        drop(s, user, "reset");
    else if (user->watched & EPOLLIN && events & (EPOLLIN | EPOLLERR | EPOLLHUP))
        receive(s, user);
    touch(s, user);
}

/* One system call for as many lines as there are. */
static void send_waiting(struct server *s, struct user *user)
{
    struct iovec pieces[MAX_PIECES];
    struct msghdr message = {.msg_iov = pieces};
    struct cursor ahead = user->cursor;
    while (message.msg_iovlen < MAX_PIECES &&
           next_piece(&s->stream, &ahead, SIZE_MAX, &pieces[message.msg_iovlen]))
        message.msg_iovlen++;
    ssize_t sent = message.msg_iovlen > 0 ? sendmsg(user->fd, &message, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        drop(s, user, "reset");
        return;
    }
    advance(&s->stream, &user->cursor, sent > 0 ? (size_t)sent : 0);
    user->blocked = unsent(&s->stream, &user->cursor) > 0;
}

/* Whether too much waits for the user, besides what its own last line brought it (LIMIT-1). */
static bool is_over(const struct server *s, const struct user *user)
{
    uint64_t most = (uint64_t)s->options.max_queue + user->reply;
    return user->phase == CHATTING && waiting(&s->stream, &user->cursor) > most;
}

/* Sends what waits for the user, and sees how it stands then. Before one is dropped, the kernel is
 * offered all once more. */
static void flush(struct server *s, struct user *user)
{
    if (user->phase != GONE && (!user->blocked || is_over(s, user)))
        send_waiting(s, user);
    if (user->phase == LEAVING && unsent(&s->stream, &user->cursor) == 0)
        end_sending(s, user);
    else if (is_over(s, user))
        drop(s, user, "slow");
    watch(s, user);
}

/* Frees those who are gone: nothing points to them any more when a round ends. */
static void reap(struct server *s, struct user *user)
{
    TAILQ_REMOVE(&s->users, user, in_users);
    close(user->fd);
#ifdef ACCOUNTS
    free(user->member);
#endif
    free(user);
}

/* A newcomer, as the loop knows it from now on; NULL where the kernel cannot watch it. */
static struct user *add_user(struct server *s, int fd, const union address *address)
{
    struct user *user = allocate(sizeof *user);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = user};
    user->fd = fd;
    user->address = *address;
    user->watched = EPOLLIN;
    user->deadline = user->due = NEVER;
    if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
        close(fd);
        free(user);
        return NULL;
    }
    TAILQ_INSERT_TAIL(&s->users, user, in_users);
    s->clients++;
    return user;
}

/* Asks a newcomer for its name, if there is room (LIMIT-2). */
static void greet(struct server *s, int fd, const union address *address)
{
    bool full = s->clients >= s->options.max_clients;
    struct user *user = add_user(s, fd, address);
    if (!user)
        return;
    log_about(s, user, "connect", NULL);
    if (full) {
        log_refusal(s, user, "full");
        tell(s, user, "! server full\n");
        dismiss(s, user, NULL);
    } else {
        set_deadline(s, user, s->now + s->options.join_timeout);
        tell(s, user, PROMPT);
        receive(s, user); /* a name that came with the connection needs no answer of its own */
    }
}

/* Leaves newcomers waiting for a moment: they would wake the loop again at once (LIMIT-3). */
static void pause_accepting(struct server *s)
{
    struct epoll_event event = {.events = 0, .data.ptr = &s->listener};
    if (!s->accept_failed)
        log_error(&s->sinks, "cannot accept connections: %s", strerror(errno));
    s->accept_failed = true;
    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->listener, &event);
    s->accept_again = s->now + ACCEPT_PAUSE;
}

static void resume_accepting(struct server *s)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &s->listener};
    epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, s->listener, &event);
    s->accept_again = NEVER;
}

/* Errors other than these are about one connection that came to nothing. */
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
            pause_accepting(s);
            return;
        }
    }
}

/* ---- 9. Loop -------------------------------------------------------------------------------- */

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

#ifdef ACCOUNTS

/* What the threads are done with. A change is one, even if the one who asked for it is gone. */
static void note_change(struct server *s, const struct job *job)
{
    static const char *const reasons[] = {
        [REGISTER] = "register", [PASSWD] = "passwd", [UNREGISTER] = "unregister"};
    const char *path = s->options.accounts;
    if (job->outcome == FAILED)
        log_error(&s->sinks, "cannot %s accounts %s: %s", job->was_read ? "change" : "read", path,
                  job->reason);
    else if (job->outcome == DONE && job->task != RELOAD)
        log_event(
            &s->sinks,
            (struct event){.msg = "account", .name = job->name, .reason = reasons[job->task]});
}

static void take_results(struct server *s)
{
    struct job *job;
    while ((job = finished(&s->accounts))) {
        struct user *user = job->owner;
        if (job->task != CHECK)
            note_change(s, job);
        if (user) {
            uint64_t before = own_bytes(user);
            user->member->job = NULL;
            if (job->task == CHECK)
                password_checked(s, user, job);
            else
                account_changed(s, user, job);
            note_reply(user, before);
            after_lines(s, user);
        }
        free_job(job);
    }
}

#endif

/* What ends a pending prompt's line before something else is said. */
static const char *prompt_end(const struct user *user)
{
    return user->phase < CHATTING && !is_busy(user) ? "\n" : "";
}

/* The user's time is up. */
static void expire(struct server *s, struct user *user)
{
    user->deadline = NEVER;
    if (user->phase > CHATTING) {
        drop(s, user, NULL);
    } else if (user->ending) { /* it said more than could be taken up by now */
        dismiss(s, user, "eof");
    } else {
        log_refusal(s, user, "timeout");
        tell(s, user, "%s! timed out\n", prompt_end(user));
        dismiss(s, user, NULL);
    }
}

/* Looks at the deadlines of all users, where the first one is past, and finds the next one. */
static void sweep(struct server *s)
{
    struct user *user;
    if (s->now < s->next_sweep || s->now < s->last_sweep + SWEEP_TICK)
        return;
    s->last_sweep = s->now;
    s->next_sweep = NEVER;
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->deadline <= s->now)
            expire(s, user);
        if (user->due <= s->now) {
            user->due = NEVER;
            give_turn(s, user);
        }
        s->next_sweep = (int64_t)least((uint64_t)s->next_sweep, (uint64_t)user->deadline);
        s->next_sweep = (int64_t)least((uint64_t)s->next_sweep, (uint64_t)user->due);
    }
}

/* Milliseconds until something is due; -1: nothing is. */
static int next_timeout(const struct server *s)
{
    int64_t due = s->next_sweep;
    if ((s->console_open && s->console_is_file) || !TAILQ_EMPTY(&s->turns))
        return 0;
    if (due < s->last_sweep + SWEEP_TICK)
        due = s->last_sweep + SWEEP_TICK;
    if (s->accept_again < due)
        due = s->accept_again;
    if (due == NEVER)
        return -1;
    int64_t wait = due - now_ms();
    return wait < 0 ? 0 : (int)least((uint64_t)wait, INT32_MAX);
}

/* Takes up lines that waited, the oldest first. One whose lines wait again is last next time. */
static void take_turns(struct server *s)
{
    struct user *user, *last = TAILQ_LAST(&s->turns, user_list);
    while (!round_is_full(s) && (user = TAILQ_FIRST(&s->turns))) {
        take_turn_away(s, user);
        take_up(s, user);
        if (user == last)
            return;
    }
}

/* Has all in the room looked at, where it has seen anything. */
static void send_news(struct server *s)
{
    struct user *user;
    if (s->flushed == s->stream.end)
        return;
    TAILQ_FOREACH (user, &s->users, in_users)
        if (user->phase == CHATTING)
            touch(s, user);
    s->flushed = s->stream.end;
}

/* Sends everybody what waits, and frees those who are gone. To drop a slow user is news to the
 * room, hence the loop. */
static void flush_all(struct server *s)
{
    struct user *user;
    s->round_size = 0;
    for (send_news(s); (user = STAILQ_FIRST(&s->touched)); send_news(s)) {
        STAILQ_REMOVE_HEAD(&s->touched, in_touched);
        user->touched = false;
        if (user->phase == GONE)
            reap(s, user);
        else
            flush(s, user); /* one that is dropped here is touched again */
    }
    stream_trim(&s->stream);
    flush_sinks(&s->sinks);
}

static void stop(struct server *s);

/* A signal or SIGHUP for the log and the accounts, as on_signal has written it. */
static void read_wake(struct server *s)
{
    char numbers[64];
    ssize_t n = read(s->wake, numbers, sizeof numbers);
    for (ssize_t i = 0; i < n; i++) {
        if (numbers[i] != SIGHUP || !(s->options.log || s->options.accounts))
            s->stop_asked = true;
        else if (s->options.log)
            reopen_log(&s->sinks);
#ifdef ACCOUNTS
        if (numbers[i] == SIGHUP && s->options.accounts)
            reload(&s->accounts);
#endif
    }
}

static bool is_sink(struct server *s, const void *source)
{
    for (int i = 0; i < SINKS; i++)
        if (source == &s->sinks.all[i])
            return true;
    return false;
}

static void handle_event(struct server *s, const struct epoll_event *event)
{
    void *source = event->data.ptr;
    if (is_sink(s, source))
        ((struct sink *)source)->blocked = false; /* what waits is written when the round ends */
    else if (source == &s->listener)
        accept_users(s);
    else if (source == &s->wake)
        read_wake(s);
    else if (source == &s->console)
        read_console(s);
#ifdef ACCOUNTS
    else if (source == &s->accounts)
        take_results(s);
#endif
    else
        user_ready(s, source, event->events);
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
    if (s->accept_again <= s->now)
        resume_accepting(s);
    sweep(s);
    if (s->stop_asked && !s->stopping)
        stop(s);
    flush_all(s);
}

/* Serves until the server has stopped and everybody is gone. */
static void run(struct server *s)
{
    while (!s->stopping || !TAILQ_EMPTY(&s->users))
        one_round(s);
}

/* ---- 10. Start and stop --------------------------------------------------------------------- */

/* What was read before the signal comes before the notice (STOP-2), for a moment. */
static void finish_turns(struct server *s)
{
    int64_t until = now_ms() + FINISH_TIME;
    flush_all(s);
    while (!TAILQ_EMPTY(&s->turns) && now_ms() < until) {
        take_turns(s);
        flush_all(s);
    }
}

/* STOP-1: the last line to everybody, and then the ending of LEAVE-4. */
static void stop(struct server *s)
{
    struct user *user;
    close_console(s);
    close(s->listener);
    s->accept_again = NEVER;
    finish_turns(s);
    s->now = now_ms();
    log_event(&s->sinks, (struct event){.msg = "shutdown", .addr = &s->address});
    s->stopping = true;
    broadcast(s, NULL, "Server is shutting down\n");
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->phase < CHATTING)
            tell(s, user, "%sServer is shutting down\n", prompt_end(user));
        if (user->phase <= CHATTING)
            dismiss(s, user, NULL);
        else if (user->phase < GONE)
            set_deadline(s, user, s->now + LINGER_TIME);
    }
}

static int wake_writer; /* the other end of server.wake; a handler reaches little else */
static volatile sig_atomic_t hangup_stops; /* SIGHUP is as SIGTERM (STOP-6) */

/* Wakes the loop. Nothing can be done here about a failure, and an empty pipe has room. */
static void on_hangup(int number)
{
    int saved = errno;
    char byte = (char)number;
    ssize_t written = write(wake_writer, &byte, 1);
    (void)written;
    errno = saved;
}

/* The first signal asks the loop to stop; a second one finds the default action (STOP-5). */
static void on_signal(int number)
{
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    if (hangup_stops)
        signal(SIGHUP, SIG_DFL);
    on_hangup(number);
}

/* Catches a signal, unless it was ignored when the program was started (PROG-10). */
static bool catch_unless_ignored(int number)
{
    bool ignored = signal(number, on_signal) == SIG_IGN;
    if (ignored)
        signal(number, SIG_IGN);
    return !ignored;
}

static void catch_signals(struct server *s)
{
    int ends[2];
    sigset_t none;
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
    signal(SIGTERM, on_signal);
    catch_unless_ignored(SIGINT);
    if (s->options.log || s->options.accounts)
        signal(SIGHUP, on_hangup);
    else
        hangup_stops = catch_unless_ignored(SIGHUP);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Opens what the caller left closed of descriptors 0 to 2: a connection could become one of them.
 */
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
 * that vanished, or takes nothing, is noticed within two minutes (LEAVE-5).
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

static int watch_source(struct server *s, int fd, uint32_t events, void *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static void watch_sources(struct server *s)
{
    s->epoll_fd = s->sinks.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (s->epoll_fd < 0 || watch_source(s, s->listener, EPOLLIN, &s->listener) < 0 ||
        watch_source(s, s->wake, EPOLLIN, &s->wake) < 0) {
        perror("chat-server: epoll");
        exit(EXIT_FAILURE);
    }
    s->console_open = true;
    if (watch_source(s, STDIN_FILENO, EPOLLIN, &s->console) < 0)
        s->console_is_file = true; /* or /dev/null, or what cannot be read and is closed then */
#ifdef ACCOUNTS
    if (s->options.accounts) {
        watch_source(s, s->accounts.checks.ours, EPOLLIN, &s->accounts);
        watch_source(s, s->accounts.changes.ours, EPOLLIN, &s->accounts);
    }
#endif
}

/* The ready line (PROG-3), with the numbers in use. */
static void announce(struct server *s)
{
    char text[MAX_ADDRESS];
    socklen_t length = sizeof s->address;
    getsockname(s->listener, &s->address.any, &length);
    format_address(text, &s->address);
    log_event(&s->sinks, (struct event){.msg = "start", .addr = &s->address});
    tell(s, NULL, "Listening on %s\n", text);
    flush_sinks(&s->sinks);
}

static void start(struct server *s)
{
    TAILQ_INIT(&s->users);
    TAILQ_INIT(&s->turns);
    STAILQ_INIT(&s->touched);
    s->accept_again = s->next_sweep = NEVER;
    s->now = now_ms();
    add_block(&s->stream);
    catch_signals(s);
#ifdef ACCOUNTS
    if (s->options.accounts)
        open_accounts(&s->accounts, s->options.accounts);
#endif
    open_sinks(&s->sinks);
    if (s->options.log)
        open_log(&s->sinks, s->options.log);
    raise_descriptor_limit();
    s->listener = listen_on(&s->options);
    watch_sources(s);
    announce(s);
}

/* All that is left when the last user is gone. */
static void finish(struct server *s)
{
    log_event(&s->sinks, (struct event){.msg = "stop", .addr = &s->address});
    finish_sinks(&s->sinks);
    free_stream(&s->stream);
#ifdef ACCOUNTS
    tdestroy(s->accounts.hashes, free);
#endif
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
    start(&s);
    run(&s);
    finish(&s);
    return EXIT_SUCCESS;
}
