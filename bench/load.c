/*
 * load: puts load on a chat server, and checks everything that the server sends.
 *
 *     gcc -O2 -o load load.c
 *     ./load --protocol chat --port 8080 flood --senders 10 --receivers 100     (--help: the rest)
 *
 * One process, one epoll loop, no threads. It plays all users at once, so that one clock measures
 * how long a message takes, and so that it knows of each message which users have not received it.
 *
 * The payload of a message holds its sender, its number among the messages of this sender, and its
 * time; a pattern that follows from these three fills the rest. What goes wrong is counted:
 *
 *     lost        messages that a receiver has not got (a damaged one counts as got)
 *     duplicates  messages that this receiver got before
 *     swapped     messages that came after a later one of the same sender
 *     echoes      messages that came back to their sender
 *     damaged     lines that no sender has sent, or that come under the name of another
 *     dropped     connections that the server closed; what they did not get is not lost
 *
 * The speed of this program limits every figure, so handling a delivery (section 7) makes no system
 * call and no copy, reads no clock, and changes four counters.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- 1. Limits ------------------------------------------------------------------------------- */

#define MIN_SIZE        40           /* bytes of a payload: its three values and some pattern */
#define MAX_SIZE        1000         /* a line of the chat has at most 1024 */
#define MAX_IRC_SIZE    400          /* a line of IRC, with all its parts, has at most 512 */
#define MAX_USERS       60000        /* fewer than local ports */
#define MAX_IN_FLIGHT   65536        /* messages */
#define READ_SIZE       (128 * 1024) /* bytes received at once; fits into the cache of a core */
#define MAX_REST        8192         /* bytes of an incomplete line */
#define PADDING         64           /* bytes behind the received ones that may be read */
#define EVENT_BATCH     256          /* events from the kernel in one round */
#define ENTER_MOST      1000         /* users who enter at once; some servers take long */
#define MAX_UNHEARD     8            /* users without an answer yet: a server may queue ten */
#define STUCK_BUFFER    4096         /* receive buffer in the kernel of a user who never reads */
#define MAX_GAPS        1024         /* of one receiver; messages in older gaps are lost */
#define MAX_SAID        160          /* bytes of a line of the server in an error message */
#define SECOND          1000000000LL /* in nanoseconds, as all times here */
#define MILLISECOND     1000000LL
#define ENTER_PATIENCE  (30 * SECOND)       /* for anything to come while users enter */
#define QUIET           (100 * MILLISECOND) /* with nothing coming: no more is under way */
#define SETTLE_PATIENCE (5 * SECOND)        /* for such a pause, once all are in */
#define STALL           (500 * MILLISECOND) /* for that, before messages in flight are given up */
#define AWAIT           (2 * SECOND)        /* for more messages in flight at the end */
#define LEAVE_PATIENCE  SECOND              /* for the server to close, when all users leave */
#define TICK            (20 * MILLISECOND)  /* the longest sleep */

#define PROMPT "Enter your screen name: "
#define ROOM   "room"

/* ---- 2. Types -------------------------------------------------------------------------------- */

enum mode { FLOOD, RATE, IDLE, JOINS };

struct options {
    const struct protocol *protocol;
    const char *host;
    const char *port;
    enum mode mode;
    uint32_t senders;
    uint32_t receivers;
    uint32_t users; /* of idle and joins */
    uint32_t stuck;
    uint32_t in_flight;
    uint32_t concurrent;
    size_t size;
    double deliveries; /* a second */
    double seconds;
    double warm_up;
};

/* What a payload holds. */
struct message {
    uint32_t sender;
    uint32_t number; /* among the messages of the sender, from 0 */
    int64_t time;    /* when it was sent or, at a rate, was due */
};

/* A message that some receivers have not got yet. */
struct flight {
    uint32_t number;
    uint32_t left; /* the number of these receivers; 0: not in flight */
};

/* Messages of one sender that one receiver has not got, although it got later ones. */
struct gap {
    uint32_t sender;
    uint32_t from, to; /* the first, and the one after the last */
};

/* The states of a connection, in this order. */
enum state {
    OUTSIDE,
    ENTERING, /* connects and talks with the server until it is in the room */
    IN_ROOM,
    LEAVING, /* has closed its side and waits until the server does */
    GONE,
};

struct buffer {
    char *bytes;
    size_t begin, end, capacity;
};

struct user {
    int fd;
    uint32_t index;
    enum state state;
    bool stuck;      /* never reads after it is in the room */
    bool receives;   /* gets all messages except its own */
    bool spoke;      /* is among `spoken` */
    bool heard;      /* has got an answer, so the server has accepted it */
    int step;        /* of entering the room, as the protocol counts them */
    uint32_t events; /* what epoll watches for */
    int64_t started; /* when it began to connect */
    uint32_t sent;   /* messages */
    uint32_t *next;  /* by sender, the number of the next message to come */
    struct gap *gaps;
    uint32_t gap_count; /* all until now; the last MAX_GAPS are kept */
    uint64_t missing;   /* messages in gaps */
    uint64_t damaged;
    char *rest; /* the beginning of an incomplete line */
    size_t rest_length;
    struct buffer output;
};

/* The beginning of a sender's messages, if the server puts the name there. */
struct origin {
    uint64_t word, mask;
    size_t length;
};

/* One protocol. A server may send other lines between messages; they are skipped. */
struct protocol {
    const char *name;
    size_t max_size;
    bool returns_own;                 /* the sender gets its own message too */
    const char *prompt;               /* asks for the name, without a line end; or NULL */
    const char *farewell;             /* sent before leaving, or "" */
    const char *head;                 /* a message to the server begins with, by its size, */
    const char *tail;                 /* and ends with */
    const char *origin;               /* a message from the server begins with: by its sender, */
    const char *lead;                 /* or by its size */
    void (*enter)(struct user *user); /* sends what comes first; NULL: the server does */
    void (*hear)(struct user *user, const char *line); /* a line while entering */
    void (*pass)(struct user *user, const char *line); /* a line in the room that is no message */
    size_t (*take)(struct user *user, char *text, size_t length); /* returns the bytes taken */
};

/* Times, counted in buckets whose width is 1/128 of their value. */
#define SUB_BITS 7
#define BUCKETS  ((65 - SUB_BITS) << SUB_BITS)
struct histogram {
    uint64_t counts[BUCKETS];
};

enum phase {
    GATHERING, /* users enter */
    SETTLING,  /* the notices about those who entered come in */
    WARMING,
    MEASURING,
    AWAITING, /* messages in flight come in */
    OVER,
};

/* ---- 3. State, clock, failures --------------------------------------------------------------- */

static struct options options;
static struct sockaddr_storage address;
static socklen_t address_length;
static int epoll_fd;
static int64_t clock_start;
static int64_t now; /* the time after the last system call that may take long */

static struct user *users;
static uint32_t user_count; /* stuck users are the last ones */
static uint32_t opened;     /* how many of them have begun to connect */
static uint32_t heard;      /* how many of those have got an answer */
static uint32_t inside;     /* how many are in the room, or have been */
static uint32_t left;       /* how many have left the room in order */
static uint32_t listeners;  /* how many receivers are still connected */
static uint32_t talkers;    /* how many senders are still connected */
static struct origin *origins;

static enum phase phase;
static int64_t phase_end;   /* when the phase ends at the latest */
static int64_t last_sign;   /* when anything last came */
static int64_t last_coming; /* when a message last came */
static int64_t work_start, span_start, span_end;

static uint32_t in_flight; /* messages */
static struct flight *flights;
static uint32_t flight_bits; /* 2^flight_bits messages of each sender are kept */
static uint32_t turn;        /* the sender that is next */
static uint32_t *spoken;     /* senders with bytes to flush in this round */
static uint32_t spoken_count;

static uint64_t sent;    /* messages */
static uint64_t due;     /* deliveries that must follow from them */
static uint64_t come;    /* deliveries that came in their turn */
static uint64_t late;    /* deliveries that filled a gap */
static uint64_t skipped; /* deliveries that nothing waits for any more */
static uint64_t duplicates, swapped, echoes;
static uint64_t dropped, stuck_dropped;
static uint64_t sent_in_span;

static struct histogram latencies, unmeasured;
static struct histogram *histogram = &unmeasured;
static int64_t measured_from; /* at a rate, messages due earlier do not count */

static _Noreturn __attribute__((format(printf, 1, 2))) void fail(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("load: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(1);
}

static void *allocate(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory)
        fail("out of memory");
    return memory;
}

static void look_at_clock(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    now = time.tv_sec * SECOND + time.tv_nsec - clock_start;
}

static int64_t seconds(double count)
{
    return (int64_t)(count * (double)SECOND);
}

/* Prints a line for the program that runs this one, at once. */
static void tell(const char *word)
{
    puts(word);
    fflush(stdout);
}

/* ---- 4. Payloads ----------------------------------------------------------------------------- */

/*
 * A payload is printable letters in pairs of words, eight letters in each word; none of them is
 * special in any protocol. The first word holds sender and number, the second the time: 48 bits,
 * six in each letter from '0' to 'o'. A letter of the pattern holds five bits, from '@' to '_'.
 */
typedef uint64_t pair __attribute__((vector_size(16))); /* one operation for both, with SIMD */

#define EACH(byte) (0x0101010101010101ULL * (byte))
#define HEADER     sizeof(pair)
#define MAX_PAIRS  (MAX_SIZE / sizeof(pair) + 1)

static pair pattern_pairs[MAX_PAIRS]; /* a constant for each pair of the pattern */
static size_t whole_pairs;            /* how many whole pairs the pattern has, */
static pair last_mask;                /* and which bytes of one more */

static uint64_t load_word(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

static inline pair load_pair(const char *bytes)
{
    pair both;
    memcpy(&both, bytes, sizeof both);
    return both;
}

static void store_pair(char *bytes, pair both)
{
    memcpy(bytes, &both, sizeof both);
}

/* 48 bits, six to a byte. */
static pair spread(pair bits)
{
    bits = (bits & 0x0000000000ffffff) | (bits & 0x0000ffffff000000) << 8;
    bits = (bits & 0x00000fff00000fff) | (bits & 0x00fff00000fff000) << 4;
    return (bits & 0x003f003f003f003f) | (bits & 0x0fc00fc00fc00fc0) << 2;
}

static inline pair gather(pair bits)
{
    bits = (bits & 0x003f003f003f003f) | (bits >> 2 & 0x0fc00fc00fc00fc0);
    bits = (bits & 0x00000fff00000fff) | (bits >> 4 & 0x00fff00000fff000);
    return (bits & 0x0000000000ffffff) | (bits >> 8 & 0x0000ffffff000000);
}

/* The letters of the pattern: a change of one bit of their input changes half of them. */
static inline pair pattern_of(uint64_t who, uint64_t time)
{
    uint64_t mixed = (who ^ 0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9 ^ time * 0x94d049bb133111eb;
    mixed = (mixed ^ mixed >> 29) * 0x9e3779b97f4a7c15;
    mixed = ((mixed ^ mixed >> 32) & EACH(0x1f)) | EACH(0x40);
    return (pair){mixed, mixed};
}

static void prepare_pattern(size_t size)
{
    char bytes[sizeof(pair)] = {0};
    whole_pairs = (size - HEADER) / sizeof(pair);
    memset(bytes, 0xff, size % sizeof(pair));
    last_mask = load_pair(bytes);
    for (uint64_t i = 0; i < MAX_PAIRS; i++)
        pattern_pairs[i] = (pair){i * 0x9e3779b97f4a7c15, ~i * 0xbf58476d1ce4e5b9} & EACH(0x1f);
}

/* May write one pair more than the payload has. */
static void write_payload(char *payload, const struct message *message)
{
    pair header = {(uint64_t)message->sender << 32 | message->number, (uint64_t)message->time};
    pair pattern = pattern_of(header[0], header[1]);
    store_pair(payload, spread(header) + EACH('0'));
    for (size_t i = 0; i <= whole_pairs; i++)
        store_pair(payload + HEADER + i * sizeof(pair), pattern ^ pattern_pairs[i]);
}

/* Whether every byte is as in a payload. May read one pair more than it has. */
static inline bool read_payload(const char *payload, struct message *message)
{
    pair header = load_pair(payload) - EACH('0');
    pair wrong = header & EACH(0xc0); /* not letters; a byte that borrowed is always one */
    header = gather(header);
    pair pattern = pattern_of(header[0], header[1]);
    payload += HEADER;
    for (size_t i = 0; i < whole_pairs; i++, payload += sizeof(pair))
        wrong |= load_pair(payload) ^ pattern ^ pattern_pairs[i];
    wrong |= (load_pair(payload) ^ pattern ^ pattern_pairs[whole_pairs]) & last_mask;
    message->sender = (uint32_t)(header[0] >> 32);
    message->number = (uint32_t)header[0];
    message->time = (int64_t)header[1];
    return !(wrong[0] | wrong[1]) && message->sender < options.senders;
}

/* ---- 5. Histograms --------------------------------------------------------------------------- */

static inline size_t bucket_of(uint64_t value)
{
    unsigned top = 63 - (unsigned)__builtin_clzll(value | ((1 << SUB_BITS) - 1) | 1);
    unsigned shift = top >= SUB_BITS ? top - SUB_BITS : 0;
    return ((size_t)shift << SUB_BITS) + (size_t)(value >> shift);
}

/* The middle of a bucket, in microseconds. */
static double bucket_value(size_t bucket)
{
    size_t shift = bucket >> SUB_BITS ? (bucket >> SUB_BITS) - 1 : 0;
    double low = (double)((uint64_t)(bucket - (shift << SUB_BITS)) << shift);
    return (low + ((double)(1ULL << shift) - 1) / 2) / 1000;
}

static inline bool is_measured(int64_t start)
{
    return histogram == &latencies && start >= measured_from;
}

/* Records a time that ends now. */
static inline void record(int64_t start)
{
    struct histogram *all = start >= measured_from ? histogram : &unmeasured;
    all->counts[bucket_of(now > start ? (uint64_t)(now - start) : 0)]++;
}

static uint64_t total(const struct histogram *all)
{
    uint64_t count = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        count += all->counts[i];
    return count;
}

/* The value that this share of all values does not exceed. */
static double quantile(const struct histogram *all, double part)
{
    double rank = part * (double)total(all);
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS; i++) {
        seen += all->counts[i];
        if (seen && (double)seen >= rank)
            return bucket_value(i);
    }
    return 0;
}

/* ---- 6. Connections -------------------------------------------------------------------------- */

static void watch(struct user *user, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = user};
    int operation = user->events ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (user->events == events)
        return;
    if (epoll_ctl(epoll_fd, operation, user->fd, &event) < 0)
        fail("epoll_ctl: %s", strerror(errno));
    user->events = events;
}

/* Makes room for so many more bytes. */
static char *reserve(struct buffer *buffer, size_t length)
{
    if (buffer->begin == buffer->end)
        buffer->begin = buffer->end = 0;
    if (buffer->end + length > buffer->capacity) {
        buffer->capacity = (buffer->end + length) * 2;
        buffer->bytes = realloc(buffer->bytes, buffer->capacity);
        if (!buffer->bytes)
            fail("out of memory");
    }
    return buffer->bytes + buffer->end;
}

static _Noreturn void not_connected(int error)
{
    fail("cannot connect to %s:%s: %s", options.host, options.port, strerror(error));
}

/* Sending failed: the server has closed the connection, or never accepted it. */
static void give_up(struct user *user)
{
    if (!user->heard && errno != ECONNRESET && errno != EPIPE)
        not_connected(errno);
    user->output.begin = user->output.end;
}

/* Sends what the kernel takes; nothing as long as it still connects. */
static void flush(struct user *user)
{
    struct buffer *output = &user->output;
    if (user->state == GONE)
        return;
    size_t length = output->end - output->begin;
    ssize_t count =
        length ? send(user->fd, output->bytes + output->begin, length, MSG_NOSIGNAL) : 0;
    if (count > 0)
        output->begin += (size_t)count;
    else if (count < 0 && errno != EAGAIN)
        give_up(user);
    bool waits = output->begin < output->end;
    watch(user, EPOLLIN | (waits ? (uint32_t)EPOLLOUT : 0));
}

static __attribute__((format(printf, 2, 3))) void say(struct user *user, const char *format, ...)
{
    char line[512];
    va_list values;
    va_start(values, format);
    size_t length = (size_t)vsnprintf(line, sizeof line, format, values);
    va_end(values);
    memcpy(reserve(&user->output, length), line, length);
    user->output.end += length;
    flush(user);
}

static void set_option(int fd, int level, int option, int value)
{
    if (setsockopt(fd, level, option, &value, sizeof value) < 0)
        fail("setsockopt: %s", strerror(errno));
}

static void open_user(struct user *user)
{
    user->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (user->fd < 0)
        fail("socket: %s", strerror(errno));
    set_option(user->fd, IPPROTO_TCP, TCP_NODELAY, 1);
    if (user->stuck)
        set_option(user->fd, SOL_SOCKET, SO_RCVBUF, STUCK_BUFFER);
    user->started = now;
    if (connect(user->fd, (struct sockaddr *)&address, address_length) < 0 && errno != EINPROGRESS)
        not_connected(errno);
    user->state = ENTERING;
    watch(user, EPOLLIN);
    if (options.protocol->enter)
        options.protocol->enter(user);
}

static void close_user(struct user *user)
{
    close(user->fd);
    free(user->rest);
    free(user->output.bytes);
    user->rest = NULL;
    user->output = (struct buffer){0};
    user->state = GONE;
}

static void leave(struct user *user)
{
    user->state = LEAVING;
    if (*options.protocol->farewell)
        say(user, "%s", options.protocol->farewell);
    shutdown(user->fd, SHUT_WR);
    watch(user, EPOLLIN);
}

/* ---- 7. Deliveries --------------------------------------------------------------------------- */

static struct flight *flight_of(uint32_t sender, uint32_t number)
{
    uint32_t mask = (1U << flight_bits) - 1;
    return &flights[(size_t)sender << flight_bits | (number & mask)];
}

/* One receiver fewer is awaited, usually because it has got the message. */
static inline void land(uint32_t sender, uint32_t number)
{
    struct flight *flight = flight_of(sender, number);
    if (flight->number == number && flight->left && --flight->left == 0)
        in_flight--;
}

/* Stop waiting for messages that will hardly come, so that sending can go on. */
static void give_up_flights(void)
{
    memset(flights, 0, ((size_t)options.senders << flight_bits) * sizeof *flights);
    in_flight = 0;
    last_coming = now;
}

static void add_gap(struct user *user, struct gap gap)
{
    if (!user->gaps)
        user->gaps = allocate(MAX_GAPS, sizeof *user->gaps);
    user->gaps[user->gap_count++ % MAX_GAPS] = gap;
}

/* A message has come too early: those before it may still come, but nothing waits for them. */
static void skip(struct user *user, const struct message *message)
{
    uint32_t *next = &user->next[message->sender];
    add_gap(user, (struct gap){message->sender, *next, message->number});
    user->missing += message->number - *next;
    skipped += message->number - *next;
    for (; *next < message->number; ++*next)
        land(message->sender, *next);
}

static struct gap *find_gap(struct user *user, const struct message *message)
{
    for (uint32_t i = 0; user->gaps && i < MAX_GAPS; i++) {
        struct gap *gap = &user->gaps[i];
        if (gap->sender == message->sender && gap->from <= message->number &&
            message->number < gap->to)
            return gap;
    }
    return NULL;
}

/* A message has come too late: it was missed before, or is a duplicate. */
static void take_earlier(struct user *user, const struct message *message)
{
    struct gap *gap = find_gap(user, message);
    if (!gap) {
        duplicates++;
        return;
    }
    if (message->number + 1 < gap->to && message->number > gap->from)
        add_gap(user, (struct gap){message->sender, message->number + 1, gap->to});
    if (message->number == gap->from)
        gap->from++;
    else
        gap->to = message->number;
    user->missing--;
    swapped++;
    late++;
    record(message->time);
}

/* Every delivery comes here. */
static inline void deliver(struct user *user, const struct message *message)
{
    uint32_t *next = &user->next[message->sender];
    if (__builtin_expect(message->sender == user->index, false)) {
        echoes += !options.protocol->returns_own;
        return;
    }
    if (__builtin_expect(message->number != *next, false)) {
        if (message->number >= users[message->sender].sent) {
            user->damaged++; /* this program has not sent it */
            return;
        }
        if (message->number < *next) {
            take_earlier(user, message);
            return;
        }
        skip(user, message);
    }
    ++*next;
    come++;
    land(message->sender, message->number);
    record(message->time);
}

/* ---- 8. Protocols ---------------------------------------------------------------------------- */

static char head[64], lead[64]; /* for messages of the size that is used */
static size_t head_length, tail_length, lead_length;

static bool starts(const char *line, const char *beginning)
{
    return !strncmp(line, beginning, strlen(beginning));
}

static bool ends(const char *line, const char *ending)
{
    size_t length = strlen(line), of_ending = strlen(ending);
    return length >= of_ending && !strcmp(line + length - of_ending, ending);
}

static _Noreturn void refused(const struct user *user, const char *line)
{
    fail("u%u cannot enter: the server says \"%.*s\"", user->index, MAX_SAID, line);
}

static void welcome(struct user *user)
{
    user->state = IN_ROOM;
    inside++;
    if (options.mode == JOINS) {
        record(user->started);
        leave(user);
    } else if (user->stuck) {
        watch(user, EPOLLRDHUP);
    }
}

/* Makes a string of a line and returns where the next one begins; NULL: incomplete. */
static char *cut_line(char *line, const char *end)
{
    char *line_end = memchr(line, '\n', (size_t)(end - line));
    if (!line_end)
        return NULL;
    *line_end = '\0';
    if (line_end > line && line_end[-1] == '\r')
        line_end[-1] = '\0';
    return line_end + 1;
}

/* Lines that come while a user enters. */
static size_t hear_lines(struct user *user, char *text, size_t length)
{
    char *line = text, *next;
    while (user->state == ENTERING && (next = cut_line(line, text + length))) {
        options.protocol->hear(user, line);
        line = next;
    }
    return (size_t)(line - text);
}

/* A message in a line: the name of its sender, then `lead`, then the payload. */
static inline bool take_line(struct user *user, const char *line, size_t length)
{
    struct message message;
    if (length < options.size + lead_length)
        return false;
    const char *payload = line + length - options.size;
    if (!read_payload(payload, &message))
        return false;
    const struct origin *origin = &origins[message.sender];
    if ((load_word(line) & origin->mask) != origin->word)
        return false;
    if (!lead_length && length != origin->length + options.size)
        return false;
    if (lead_length && memcmp(payload - lead_length, lead, lead_length) != 0)
        return false;
    deliver(user, &message);
    return true;
}

/* The length of the line that begins here, with its end; 0: incomplete. */
static size_t line_length(const char *line, const char *end)
{
    const char *line_end = memchr(line, '\n', (size_t)(end - line));
    return line_end ? (size_t)(line_end + 1 - line) : 0;
}

/* Lines in the room: chat and IRC. Most have the length of the one before; no search then. */
static size_t take_lines(struct user *user, char *text, size_t length)
{
    char *line = text, *end = text + length;
    size_t guess = 0;
    for (;; line += guess) {
        bool fits = guess > tail_length && guess <= (size_t)(end - line) && line[guess - 1] == '\n';
        if (fits && take_line(user, line, guess - tail_length))
            continue;
        guess = line_length(line, end);
        if (!guess)
            return (size_t)(line - text);
        if (guess > tail_length && take_line(user, line, guess - tail_length))
            continue;
        cut_line(line, end);
        options.protocol->pass(user, line);
    }
}

static inline void take_frame(struct user *user, const char *payload)
{
    struct message message;
    if (read_payload(payload, &message) && !memcmp(payload + options.size, "\r\n", 2))
        deliver(user, &message);
    else
        user->damaged++;
}

/* Messages with their length in their heads, and lines between them: Redis and NATS. */
static size_t take_frames(struct user *user, char *text, size_t length)
{
    const size_t frame_length = lead_length + options.size + 2;
    char *at = text, *end = text + length, *next;
    for (; at < end; at = next) {
        size_t rest = (size_t)(end - at);
        bool is_frame = !memcmp(at, lead, rest < lead_length ? rest : lead_length);
        if (is_frame && rest < frame_length)
            break;
        next = is_frame ? at + frame_length : cut_line(at, end);
        if (!next)
            break;
        if (is_frame)
            take_frame(user, at + lead_length);
        else
            options.protocol->pass(user, at);
    }
    return (size_t)(at - text);
}

/* Chat: see PROTOCOL.md. All that comes is lines, except for the prompt. */

static void chat_hear(struct user *user, const char *line)
{
    if (!starts(line, "Welcome, "))
        refused(user, line);
    welcome(user);
}

/* Sent without waiting for the prompt, as the first words of other protocols are. */
static void chat_enter(struct user *user)
{
    say(user, "u%u\n", user->index);
}

/* Returns the length of the prompt; 0: it is none. */
static size_t skip_prompt(struct user *user, const char *text, size_t length)
{
    const char *prompt = options.protocol->prompt;
    if (!prompt || user->step || length < strlen(prompt) || memcmp(text, prompt, strlen(prompt)))
        return 0;
    user->step++;
    return strlen(prompt);
}

static void chat_pass(struct user *user, const char *line)
{
    bool notice = ends(line, " has joined the chat") || ends(line, " has left the chat") ||
                  !strcmp(line, "Server is shutting down") || starts(line, "! ");
    if (!notice)
        user->damaged++;
}

/* Redis: RESP3, in which a subscriber may still publish. */

static void redis_enter(struct user *user)
{
    say(user, "HELLO 3\r\nSUBSCRIBE " ROOM "\r\n");
}

static void redis_hear(struct user *user, const char *line)
{
    if (*line == '-')
        refused(user, line);
    if (!strcmp(line, "subscribe"))
        user->step++;
    else if (user->step && *line == ':')
        welcome(user);
}

/* The number of receivers of a message; or lines of a message with another length. */
static void redis_pass(struct user *user, const char *line)
{
    if (!strchr(":>$", *line) && strcmp(line, "message") != 0 && strcmp(line, ROOM) != 0)
        user->damaged++;
}

/* NATS */

static void nats_hear(struct user *user, const char *line)
{
    if (starts(line, "INFO "))
        say(user,
            "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false,\"protocol\":1,"
            "\"lang\":\"c\",\"version\":\"1\",\"name\":\"u%u\"}\r\nSUB " ROOM " 1\r\nPING\r\n",
            user->index);
    else if (!strcmp(line, "PING"))
        say(user, "PONG\r\n");
    else if (!strcmp(line, "PONG"))
        welcome(user);
    else if (starts(line, "-ERR"))
        refused(user, line);
}

static void nats_pass(struct user *user, const char *line)
{
    if (!strcmp(line, "PING"))
        say(user, "PONG\r\n");
    else if (!starts(line, "MSG ") && !starts(line, "INFO ") && !starts(line, "-ERR") &&
             strcmp(line, "PONG") != 0)
        user->damaged++;
}

/* IRC */

static void irc_enter(struct user *user)
{
    /* A command that is refused at once: some servers answer others only once a second. */
    say(user, "LIST\r\nNICK u%u\r\nUSER u%u 0 * :u%u\r\n", user->index, user->index, user->index);
}

/* The number of a reply, as in ":server 001 u0 :Welcome"; 0: another line. */
static int irc_numeric(const char *line)
{
    const char *word = *line == ':' ? strchr(line, ' ') : NULL;
    return word ? atoi(word) : 0;
}

static bool irc_answers_ping(struct user *user, const char *line)
{
    if (starts(line, "PING "))
        say(user, "PONG %s\r\n", line + strlen("PING "));
    return starts(line, "PING ");
}

static void irc_hear(struct user *user, const char *line)
{
    int numeric = irc_numeric(line);
    bool is_expected = numeric == 451 || numeric == 422; /* not registered yet; no MOTD */
    if (irc_answers_ping(user, line))
        return;
    if (numeric == 1)
        say(user, "JOIN #" ROOM "\r\n");
    else if (numeric == 366) /* the end of the names in the room */
        welcome(user);
    else if (starts(line, "ERROR") || (numeric >= 400 && numeric < 600 && !is_expected))
        refused(user, line);
}

static void irc_pass(struct user *user, const char *line)
{
    if (!irc_answers_ping(user, line) && strstr(line, " PRIVMSG "))
        user->damaged++;
}

static const struct protocol protocols[] = {
    {
        .name = "chat",
        .max_size = MAX_SIZE,
        .prompt = PROMPT,
        .farewell = "",
        .head = "",
        .tail = "\n",
        .origin = "u%u: ",
        .lead = "",
        .enter = chat_enter,
        .hear = chat_hear,
        .pass = chat_pass,
        .take = take_lines,
    },
    {
        .name = "redis",
        .max_size = MAX_SIZE,
        .returns_own = true,
        .farewell = "",
        .head = "*3\r\n$7\r\nPUBLISH\r\n$4\r\n" ROOM "\r\n$%zu\r\n",
        .tail = "\r\n",
        .origin = "",
        .lead = ">3\r\n$7\r\nmessage\r\n$4\r\n" ROOM "\r\n$%zu\r\n",
        .enter = redis_enter,
        .hear = redis_hear,
        .pass = redis_pass,
        .take = take_frames,
    },
    {
        .name = "nats",
        .max_size = MAX_SIZE,
        .farewell = "",
        .head = "PUB " ROOM " %zu\r\n",
        .tail = "\r\n",
        .origin = "",
        .lead = "MSG " ROOM " 1 %zu\r\n",
        .hear = nats_hear,
        .pass = nats_pass,
        .take = take_frames,
    },
    {
        .name = "irc",
        .max_size = MAX_IRC_SIZE,
        .farewell = "QUIT\r\n",
        .head = "PRIVMSG #" ROOM " :",
        .tail = "\r\n",
        .origin = ":u%u!",
        .lead = " PRIVMSG #" ROOM " :",
        .enter = irc_enter,
        .hear = irc_hear,
        .pass = irc_pass,
        .take = take_lines,
    },
};
#define PROTOCOLS (sizeof protocols / sizeof *protocols)

static struct origin origin_of(uint32_t sender)
{
    char text[32] = {0}, mask[8] = {0};
    int length = snprintf(text, sizeof text, options.protocol->origin, sender);
    memset(mask, 0xff, (size_t)length);
    return (struct origin){load_word(text), load_word(mask), (size_t)length};
}

static void prepare_protocol(void)
{
    const struct protocol *protocol = options.protocol;
    head_length = (size_t)snprintf(head, sizeof head, protocol->head, options.size);
    lead_length = (size_t)snprintf(lead, sizeof lead, protocol->lead, options.size);
    tail_length = strlen(protocol->tail);
    origins = allocate(options.senders, sizeof *origins);
    for (uint32_t i = 0; i < options.senders; i++)
        origins[i] = origin_of(i);
}

/* ---- 9. What comes in ------------------------------------------------------------------------ */

static size_t consume(struct user *user, char *text, size_t length)
{
    size_t used = 0;
    if (user->state == ENTERING) {
        used = skip_prompt(user, text, length);
        used += hear_lines(user, text + used, length - used);
    }
    if (user->state != IN_ROOM)
        return user->state == ENTERING ? used : length;
    if (user->stuck)
        return length;
    return used + options.protocol->take(user, text + used, length - used);
}

/* Keeps the beginning of an incomplete line. */
static void keep(struct user *user, const char *text, size_t length)
{
    if (length > MAX_REST) {
        user->damaged++;
        length = 0;
    }
    if (length && !user->rest)
        user->rest = allocate(1, MAX_REST);
    if (length)
        memcpy(user->rest, text, length);
    user->rest_length = length;
}

/* The server has closed a connection: what it has not got is not awaited any more. */
static void drop(struct user *user)
{
    dropped++;
    listeners -= user->receives;
    talkers -= user->index < options.senders;
    for (uint32_t i = 0; i < options.senders && user->receives; i++) {
        if (i == user->index)
            continue;
        skipped += users[i].sent - user->next[i];
        while (user->next[i] < users[i].sent)
            land(i, user->next[i]++);
    }
    if (options.senders && (!talkers || listeners <= users[0].receives))
        fail("the server has ended %" PRIu64 " connections, and nobody is left", dropped);
}

static void on_end(struct user *user)
{
    if (user->state == ENTERING)
        fail("u%u cannot enter: the server ends the connection", user->index);
    if (user->state == LEAVING)
        left++;
    else if (user->stuck)
        stuck_dropped++;
    else
        drop(user);
    close_user(user);
}

static void on_readable(struct user *user)
{
    static char arena[MAX_REST + READ_SIZE + PADDING]; /* kept bytes go before new ones */
    char *fresh = arena + MAX_REST, *text = fresh - user->rest_length;
    uint64_t come_so_far = come;
    ssize_t count = recv(user->fd, fresh, READ_SIZE, 0);
    look_at_clock();
    last_sign = now;
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0) {
        if (count < 0)
            give_up(user);
        on_end(user);
        return;
    }
    heard += !user->heard;
    user->heard = true;
    if (user->rest_length)
        memcpy(text, user->rest, user->rest_length);
    size_t length = user->rest_length + (size_t)count;
    size_t used = consume(user, text, length);
    keep(user, text + used, length - used);
    if (come != come_so_far)
        last_coming = now;
}

static void on_event(struct user *user, uint32_t events)
{
    if (user->state == GONE)
        return;
    if (user->stuck && user->state == IN_ROOM)
        on_end(user);
    else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        on_readable(user);
    if (events & EPOLLOUT)
        flush(user);
}

/* ---- 10. What goes out ----------------------------------------------------------------------- */

static uint32_t next_sender(void)
{
    do
        turn = (turn + 1) % options.senders;
    while (users[turn].state != IN_ROOM);
    return turn;
}

static void take_off(struct user *user, int64_t time)
{
    struct flight *flight = flight_of(user->index, user->sent);
    uint32_t receivers = listeners - user->receives;
    in_flight -= flight->left != 0; /* at a rate, an old one that was not received by all */
    *flight = (struct flight){user->sent, receivers};
    in_flight++;
    due += receivers;
    user->sent++;
    sent++;
    sent_in_span += is_measured(time);
}

static void speak(struct user *user, int64_t time)
{
    struct message message = {user->index, user->sent, time};
    char *at = reserve(&user->output, head_length + options.size + tail_length + sizeof(pair));
    memcpy(at, head, head_length);
    write_payload(at + head_length, &message);
    memcpy(at + head_length + options.size, options.protocol->tail, tail_length);
    user->output.end += head_length + options.size + tail_length;
    take_off(user, time);
    if (!user->spoke)
        spoken[spoken_count++] = user->index;
    user->spoke = true;
}

static void flush_spoken(void)
{
    for (uint32_t i = 0; i < spoken_count; i++) {
        users[spoken[i]].spoke = false;
        flush(&users[spoken[i]]);
    }
    spoken_count = 0;
}

/* When the next message is due, at a rate. */
static int64_t next_due(void)
{
    double receivers = options.receivers - users[0].receives;
    return work_start + seconds((double)sent * receivers / options.deliveries);
}

static void work(void)
{
    if (options.mode == FLOOD) {
        if (in_flight && now - last_coming > STALL)
            give_up_flights();
        while (in_flight < options.in_flight)
            speak(&users[next_sender()], now);
    } else if (options.mode == RATE) {
        int64_t end = span_start + seconds(options.seconds);
        for (int64_t time; (time = next_due()) <= now && time < end;)
            speak(&users[next_sender()], time);
    }
    flush_spoken();
}

/* ---- 11. Phases ------------------------------------------------------------------------------ */

static void enter_phase(enum phase next, int64_t duration)
{
    phase = next;
    phase_end = now + duration;
}

/* From here on, messages count; at a rate, those that are due from here on. */
static void begin_span(void)
{
    if (options.mode != IDLE)
        tell("begin");
    look_at_clock();
    histogram = &latencies;
    if (options.mode != RATE)
        span_start = now;
    enter_phase(MEASURING, span_start + seconds(options.seconds) - now);
}

/* At a rate, a message that was due within the span counts, however late it comes. */
static void end_span(void)
{
    span_end = options.mode == RATE ? phase_end : now;
    if (options.mode == FLOOD)
        histogram = &unmeasured;
    if (options.mode != IDLE)
        tell("end");
    enter_phase(options.mode == IDLE ? OVER : AWAITING, AWAIT);
}

static void await(void)
{
    bool all_came = due == come + skipped && now - last_sign > QUIET;
    if (all_came || (now >= phase_end && now - last_coming > AWAIT))
        phase = OVER;
}

static void start_work(void)
{
    work_start = last_coming = now;
    if (options.mode == IDLE) {
        tell("ready");
        begin_span();
    } else {
        enter_phase(WARMING, seconds(options.warm_up));
        span_start = phase_end;
        measured_from = options.mode == RATE ? span_start : 0;
        histogram = options.mode == RATE ? &latencies : &unmeasured;
    }
}

static void gather_users(void)
{
    uint32_t gone_in = options.mode == JOINS ? left : inside;
    while (opened < user_count && opened - gone_in < options.concurrent &&
           opened - heard < MAX_UNHEARD)
        open_user(&users[opened++]);
    if (now - last_sign > ENTER_PATIENCE)
        fail("the server keeps silent; %u of %u users are in", inside, user_count);
    if (gone_in < user_count)
        return;
    span_end = now;
    enter_phase(options.mode == JOINS ? OVER : SETTLING, SETTLE_PATIENCE);
}

static void on_round(void)
{
    if (phase == GATHERING)
        gather_users();
    else if (phase == SETTLING && (now - last_sign > QUIET || now > phase_end))
        start_work();
    else if (phase == AWAITING)
        await();
    if (phase == WARMING || phase == MEASURING)
        work();
    if (phase == WARMING && now >= phase_end)
        begin_span();
    else if (phase == MEASURING && now >= phase_end)
        end_span();
}

/* If the time of a single message is measured, this process does not sleep: waking it up would be a
 * part of that time, and would cost the sender to it. */
static int sleep_time(void)
{
    bool works = phase == WARMING || phase == MEASURING || phase == AWAITING;
    bool counts = options.mode == RATE || (options.mode == FLOOD && options.in_flight == 1);
    if (works && counts)
        return 0;
    int64_t rest = phase == WARMING || phase == MEASURING ? phase_end - now : TICK;
    rest = rest < TICK ? rest : TICK;
    return rest > 0 ? (int)((rest + MILLISECOND - 1) / MILLISECOND) : 0;
}

static void handle_events(void)
{
    struct epoll_event events[EVENT_BATCH];
    int count = epoll_wait(epoll_fd, events, EVENT_BATCH, sleep_time());
    if (count < 0 && errno != EINTR)
        fail("epoll_wait: %s", strerror(errno));
    for (int i = 0; i < count; i++)
        on_event(events[i].data.ptr, events[i].events);
    look_at_clock();
}

static void run(void)
{
    last_sign = now;
    if (options.mode == JOINS)
        histogram = &latencies; /* from the first user on */
    for (span_start = now; phase != OVER; handle_events())
        on_round();
}

/* All leave in order, so that their names are free for the next users. */
static void leave_all(void)
{
    uint32_t going = 0;
    left = 0;
    for (uint32_t i = 0; i < user_count; i++) {
        if (users[i].state == IN_ROOM && users[i].stuck)
            close_user(&users[i]);
        if (users[i].state != IN_ROOM)
            continue;
        leave(&users[i]);
        going++;
    }
    enter_phase(OVER, LEAVE_PATIENCE);
    while (left < going && now < phase_end)
        handle_events();
}

/* ---- 12. The result -------------------------------------------------------------------------- */

/* What one receiver has not got, in gaps and at the end; damaged messages count as got. */
static uint64_t lost_by(const struct user *user)
{
    uint64_t missing = user->missing;
    for (uint32_t i = 0; i < options.senders && user->state == IN_ROOM; i++)
        if (i != user->index && users[i].state == IN_ROOM)
            missing += users[i].sent - user->next[i];
    return missing > user->damaged ? missing - user->damaged : 0;
}

static void print_losses(void)
{
    uint64_t lost = 0, damaged = 0;
    for (uint32_t i = 0; i < user_count; i++) {
        lost += users[i].receives ? lost_by(&users[i]) : 0;
        damaged += users[i].damaged;
    }
    printf("\"lost\":%" PRIu64 ",\"duplicates\":%" PRIu64 ",\"swapped\":%" PRIu64, lost, duplicates,
           swapped);
    printf(",\"echoes\":%" PRIu64 ",\"damaged\":%" PRIu64 ",", echoes, damaged);
}

static void print_latencies(void)
{
    printf("\"latency_us\":{\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f,\"max\":%.2f},",
           quantile(&latencies, 0.5), quantile(&latencies, 0.99), quantile(&latencies, 0.999),
           quantile(&latencies, 1));
}

static const char *const mode_names[] = {"flood", "rate", "idle", "joins"};

static void print_result(void)
{
    double span = (double)(span_end - span_start) / (double)SECOND;
    uint64_t done = total(&latencies); /* deliveries, or joins */
    printf("{\"protocol\":\"%s\",\"mode\":\"%s\",", options.protocol->name,
           mode_names[options.mode]);
    printf("\"senders\":%u,\"receivers\":%u,\"users\":%u,", options.senders, options.receivers,
           user_count);
    printf("\"sent\":%" PRIu64 ",\"deliveries\":%" PRIu64 ",", sent_in_span,
           options.mode == JOINS ? 0 : done);
    printf("\"seconds\":%.6f,\"rate\":%.1f,", span, span > 0 ? (double)done / span : 0);
    print_losses();
    print_latencies();
    printf("\"dropped\":%" PRIu64 ",\"stuck_dropped\":%" PRIu64 "}\n", dropped, stuck_dropped);
    fflush(stdout);
}

/* ---- 13. Start ------------------------------------------------------------------------------- */

#define IN(mode) (1U << (mode))

static const char usage[] =
    "usage: load --protocol chat|redis|nats|irc [--host HOST] --port PORT MODE [OPTION ...]\n"
    "\n"
    "  flood  as fast as it goes    --senders S --receivers R --in-flight W --seconds T\n"
    "                               --warm-up T --size BYTES --stuck K\n"
    "  rate   at even times         --senders S --receivers R --deliveries D (a second)\n"
    "                               --seconds T --warm-up T --size BYTES --stuck K\n"
    "  idle   users do nothing      --users N --seconds T\n"
    "  joins  users come and go     --users N --concurrent C\n"
    "\n"
    "A single sender does not receive; several are among the receivers. At most W messages are\n"
    "on their way at a time. K users never read. The result is one line of JSON.\n";

static _Noreturn __attribute__((format(printf, 1, 2))) void misused(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs(usage, stderr);
    fputs("load: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    exit(2);
}

static void set_protocol(const char *name)
{
    options.protocol = NULL;
    for (size_t i = 0; i < PROTOCOLS; i++)
        if (!strcmp(name, protocols[i].name))
            options.protocol = &protocols[i];
    if (!options.protocol)
        misused("no such protocol: %s", name);
}

/* The options whose values are numbers, and the modes that take them. */
static struct number {
    const char *name;
    double least, most, value;
    bool whole;
    unsigned modes;
    bool given;
} numbers[] = {
    {"--senders", 1, MAX_USERS, 1, true, IN(FLOOD) | IN(RATE), false},
    {"--receivers", 1, MAX_USERS, 1, true, IN(FLOOD) | IN(RATE), false},
    {"--in-flight", 1, MAX_IN_FLIGHT, 256, true, IN(FLOOD), false},
    {"--seconds", 0.001, 1e6, 3, false, IN(FLOOD) | IN(RATE) | IN(IDLE), false},
    {"--warm-up", 0, 1e6, 0.5, false, IN(FLOOD) | IN(RATE), false},
    {"--size", MIN_SIZE, MAX_SIZE, 64, true, IN(FLOOD) | IN(RATE), false},
    {"--stuck", 0, MAX_USERS, 0, true, IN(FLOOD) | IN(RATE), false},
    {"--deliveries", 0.001, 1e9, 50000, false, IN(RATE), false},
    {"--users", 1, MAX_USERS, 100, true, IN(IDLE) | IN(JOINS), false},
    {"--concurrent", 1, MAX_USERS, 32, true, IN(JOINS), false},
};
#define NUMBERS (sizeof numbers / sizeof *numbers)

static struct number *number_named(const char *name)
{
    for (size_t i = 0; i < NUMBERS; i++)
        if (!strcmp(name, numbers[i].name))
            return &numbers[i];
    return NULL;
}

static void set_number(const char *name, const char *text)
{
    struct number *number = number_named(name);
    char *end;
    if (!number)
        misused("no such option: %s", name);
    number->value = strtod(text, &end);
    number->given = true;
    bool bad = end == text || *end ||
               !(number->value >= number->least && number->value <= number->most) ||
               (number->whole && number->value != (double)(uint32_t)number->value);
    if (bad)
        misused("%s: not a number from %g to %g: %s", name, number->least, number->most, text);
}

static double value(const char *name)
{
    return number_named(name)->value;
}

static bool set_mode(const char *word)
{
    for (unsigned i = 0; i < sizeof mode_names / sizeof *mode_names; i++) {
        if (strcmp(word, mode_names[i]) != 0)
            continue;
        options.mode = (enum mode)i;
        return true;
    }
    return false;
}

static void set_text(const char *name, const char *text)
{
    if (!strcmp(name, "--protocol"))
        set_protocol(text);
    else if (!strcmp(name, "--host"))
        options.host = text;
    else if (!strcmp(name, "--port"))
        options.port = text;
    else
        set_number(name, text);
}

static void read_arguments(char **arguments)
{
    bool has_mode = false;
    for (; *arguments; arguments++) {
        const char *name = *arguments;
        if (!strcmp(name, "--help")) {
            fputs(usage, stdout);
            exit(0);
        }
        if (*name != '-') {
            if (has_mode || !set_mode(name))
                misused("no such mode: %s", name);
            has_mode = true;
            continue;
        }
        if (!arguments[1])
            misused("%s: a value is missing", name);
        set_text(name, *++arguments);
    }
    if (!has_mode || !options.protocol || !options.port)
        misused("%s is missing", !has_mode ? "MODE" : options.port ? "--protocol" : "--port");
}

static void use_numbers(void)
{
    bool talk = options.mode == FLOOD || options.mode == RATE;
    options.senders = talk ? (uint32_t)value("--senders") : 0;
    options.receivers = talk ? (uint32_t)value("--receivers") : 0;
    options.users = (uint32_t)value("--users");
    options.stuck = talk ? (uint32_t)value("--stuck") : 0;
    options.in_flight = (uint32_t)value("--in-flight");
    options.concurrent = options.mode == JOINS ? (uint32_t)value("--concurrent") : ENTER_MOST;
    options.size = (size_t)value("--size");
    options.deliveries = value("--deliveries");
    options.seconds = value("--seconds");
    options.warm_up = value("--warm-up");
}

static void check_options(void)
{
    for (size_t i = 0; i < NUMBERS; i++)
        if (numbers[i].given && !(numbers[i].modes & IN(options.mode)))
            misused("%s: not for %s", numbers[i].name, mode_names[options.mode]);
    if (options.size > options.protocol->max_size)
        misused("--size: at most %zu for %s", options.protocol->max_size, options.protocol->name);
    if (options.senders > options.receivers)
        misused("--senders: at most as many as --receivers: %u", options.senders);
    if (options.senders == 1 && options.receivers == 1)
        misused("--receivers: nobody but the sender would receive: 1");
}

static void find_address(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(options.host, options.port, &hints, &found);
    if (error)
        fail("cannot connect to %s:%s: %s", options.host, options.port, gai_strerror(error));
    memcpy(&address, found->ai_addr, found->ai_addrlen);
    address_length = found->ai_addrlen;
    freeaddrinfo(found);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < user_count + 16)
        fail("%u users are more than this process may have descriptors", user_count);
}

/* Senders are the first users; users who never read are the last. */
static void make_users(void)
{
    uint32_t silent = options.senders == 1; /* a single sender does not receive */
    uint32_t normal = options.senders ? options.receivers + silent : options.users;
    user_count = normal + options.stuck;
    users = allocate(user_count, sizeof *users);
    uint32_t *next = allocate((size_t)normal * options.senders, sizeof *next);
    for (uint32_t i = 0; i < user_count; i++) {
        users[i].index = i;
        users[i].stuck = i >= normal;
        users[i].receives = options.senders && i >= silent && i < normal;
        users[i].next = i < normal ? next + (size_t)i * options.senders : NULL;
    }
    listeners = options.receivers;
    talkers = options.senders;
}

static void make_flights(void)
{
    while (1U << flight_bits < options.in_flight)
        flight_bits++;
    flights = allocate((size_t)options.senders << flight_bits, sizeof *flights);
    spoken = allocate(options.senders, sizeof *spoken);
}

int main(int argc, char **argv)
{
    (void)argc;
    options.host = "127.0.0.1";
    read_arguments(argv + 1);
    use_numbers();
    check_options();
    look_at_clock();
    clock_start = now;
    now = 0;
    find_address();
    make_users();
    raise_descriptor_limit();
    make_flights();
    prepare_pattern(options.size);
    prepare_protocol();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    run();
    print_result();
    leave_all();
    return 0;
}
