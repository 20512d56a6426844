/*
 * options.h: the command line (PROG-1, PROG-4, PROG-7).
 *
 *     parse_options      gives what the words of the command line say, or ends the program
 *     usage_error        ends the program with status 2
 *
 * Needs VERSION and MILLISECOND.
 */
#define HOST         "127.0.0.1"
#define PORT         8080
#define MAX_CLIENTS  10000         /* connections; one more hears that the server is full */
#define MAX_QUEUE    (1024 * 1024) /* bytes that may wait for one user */
#define LEAST_QUEUE  4096          /* the smallest --max-queue: a few lines */
#define JOIN_SECONDS 60            /* for a good name, and its password */

struct options {
    const char *host;     /* address or name to listen on */
    long port;            /* 0: any free one */
    long max_clients;     /* LIMIT-2 */
    long max_queue;       /* LIMIT-1, in bytes */
    int64_t join_timeout; /* JOIN-8, in nanoseconds */
    bool quiet;           /* keep the room's lines off standard output */
    long rate;            /* LIMIT-5, in lines a second; 0: no limit */
    const char *log;      /* LOG-2: path of the log, or NULL */
    const char *accounts; /* FILE-1: path of the accounts file, or NULL */
    bool members_only;    /* ACCT-6 */
};

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
           "  --join-timeout SECONDS  time to give a name, and its password (default %d)\n"
           "  --quiet                 do not print what the room sees (default: print it)\n"
           "  --rate N                lines of one user taken up in a second; the others wait\n"
           "                          (default: no limit)\n"
           "  --log FILE              append what happens to FILE, a JSON object a line; SIGHUP\n"
           "                          opens it anew (default: no log)\n"
           "  --accounts FILE         names that need a password: a file as `htpasswd -B` makes "
           "it;\n"
           "                          SIGHUP reads it anew\n"
           "  --members-only          let in no other names\n"
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

/* How many ASCII digits a text begins with; 0 where there are more than nine. */
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

/* Reads seconds, such as 60 or 0.25, as nanoseconds. */
static bool parse_seconds(const char *text, int64_t *nanoseconds)
{
    size_t whole = count_digits(text);
    const char *end = text + whole;
    if (whole > 0 && *end == '.' && count_digits(end + 1) > 0)
        end += 1 + count_digits(end + 1);
    double seconds = strtod(text, NULL);
    if (whole == 0 || *end != '\0' || seconds <= 0)
        return false;
    *nanoseconds = (int64_t)(seconds * 1000 * MILLISECOND);
    return true;
}

/* Sets the option of this name and length; *good says whether its value is. False: no such one. */
static bool set_value(struct options *o, const char *name, size_t length, const char *value,
                      bool *good)
{
#define IS(option) (length == sizeof option - 1 && strncmp(name, option, length) == 0)
    *good = true;
    if (IS("--host"))
        *good = strcmp(o->host = value, "") != 0 && strcmp(value, "*") != 0;
    else if (IS("--port"))
        *good = parse_number(value, 0, 65535, &o->port);
    else if (IS("--max-clients"))
        *good = parse_number(value, 1, LONG_MAX, &o->max_clients);
    else if (IS("--max-queue"))
        *good = parse_number(value, LEAST_QUEUE, LONG_MAX, &o->max_queue);
    else if (IS("--join-timeout"))
        *good = parse_seconds(value, &o->join_timeout);
    else if (IS("--rate"))
        *good = parse_number(value, 1, LONG_MAX, &o->rate);
    else if (IS("--log"))
        o->log = value;
    else if (IS("--accounts"))
        o->accounts = value;
    else
        return false;
    return true;
#undef IS
}

/* Reads an option and its value, which stands behind `=` or is the next word; gives the last. */
static char **set_option(struct options *options, char **word)
{
    char *name = *word;
    size_t length = strcspn(name, "=");
    bool joined = name[length] == '=', good;
    const char *value = joined ? name + length + 1 : word[1];
    if (!set_value(options, name, length, value ? value : "0", &good))
        usage_error("%s: %s", *name == '-' ? "unknown option" : "not an option", name);
    if (!value)
        usage_error("no value for %s", name);
    if (!good)
        usage_error("bad value: %.*s%s%s", (int)length, name, joined ? "=" : " ", value);
    return joined ? word : word + 1;
}

/* What the options need of each other and of this build. */
static void check_options(const struct options *options)
{
    if (options->members_only && !options->accounts)
        usage_error("--members-only needs --accounts");
#ifndef ACCOUNTS
    if (options->accounts)
        usage_error("--accounts needs a build with accounts: "
                    "gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread");
#endif
}

/* Reads the command line; the first word that asks for help or is wrong ends the program. */
static struct options parse_options(char **word)
{
    struct options options = {.host = HOST,
                              .port = PORT,
                              .max_clients = MAX_CLIENTS,
                              .max_queue = MAX_QUEUE,
                              .join_timeout = JOIN_SECONDS * 1000 * MILLISECOND};
    for (; *word; word++) {
        if (strcmp(*word, "--help") == 0) {
            print_help();
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--version") == 0) {
            puts("chat-server " VERSION " (C, protocol 1)");
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--quiet") == 0) {
            options.quiet = true;
        } else if (strcmp(*word, "--members-only") == 0) {
            options.members_only = true;
        } else {
            word = set_option(&options, word);
        }
    }
    check_options(&options);
    return options;
}
