/*
 * options.h: the command line (PROG-1, PROG-4 to PROG-8).
 *
 * Exports: struct options, parse_options. Requires: die, VERSION, SECOND.
 */
#define HOST         "127.0.0.1"
#define PORT         8080
#define MAX_CLIENTS  10000         /* connections */
#define MAX_QUEUE    (1024 * 1024) /* bytes in the queue of one user */
#define LEAST_QUEUE  4096          /* the smallest --max-queue */
#define JOIN_SECONDS 60

/* The values of all options. */
struct options {
    const char *host;
    long port;
    long max_clients;     /* connections */
    long max_queue;       /* bytes in the queue of one user */
    int64_t join_timeout; /* nanoseconds */
    long rate;            /* lines a second; 0 for no limit */
    const char *log;      /* path, or NULL */
    const char *accounts; /* path, or NULL */
    bool members_only;
    bool quiet;
};

static void print_help(void)
{
    printf(
        "usage: chat-server [OPTION]...\n\n"
        "A chat server: one room, lines of text over TCP.\n"
        "Nothing is encrypted, not even passwords. On a network that is not yours, put an SSH "
        "tunnel\n"
        "or a TLS proxy before it (see docs/chat.md).\n"
        "\n"
        "  --host HOST             address to listen on (default %s)\n"
        "  --port PORT             port to listen on; 0 for any free one (default %d)\n"
        "  --max-clients N         limit of connections (default %d)\n"
        "  --max-queue BYTES       limit of unsent bytes for one user, who is dropped beyond it;\n"
        "                          %d or more (default %d)\n"
        "  --join-timeout SECONDS  time to give a name and its password (default %d)\n"
        "  --rate N                limit of lines a second from one user; further ones wait\n"
        "                          (default: no limit)\n"
        "  --log FILE              append events to FILE, as lines of JSON; SIGHUP reopens it\n"
        "                          (default: no log)\n"
        "  --accounts FILE         names with passwords, a file as `htpasswd -B` makes it;\n"
        "                          SIGHUP reads it again (default: no accounts)\n"
        "  --members-only          only registered names may join\n"
        "  --quiet                 do not print the lines of the room\n"
        "  --help                  print this and exit\n"
        "  --version               print the version and exit\n"
        "\n"
        "Lines on standard input are announced to all; /help there lists the operator's "
        "commands.\n",
        HOST, PORT, MAX_CLIENTS, LEAST_QUEUE, MAX_QUEUE, JOIN_SECONDS);
}

/* Counts the ASCII digits at the front of a text; 0 where there are more than nine. */
static size_t count_digits(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits <= 9 ? digits : 0;
}

static long parse_number(const char *option, const char *value, long lowest, long highest)
{
    size_t digits = count_digits(value);
    long number = strtol(value, NULL, 10);
    if (digits == 0 || value[digits] != '\0' || number < lowest || number > highest)
        die(2, "bad value for %s: %s", option, value);
    return number;
}

/* Reads seconds, such as 60 or 0.25, as nanoseconds. */
static int64_t parse_seconds(const char *option, const char *value)
{
    size_t whole = count_digits(value);
    const char *end = value + whole;
    if (whole > 0 && *end == '.' && count_digits(end + 1) > 0)
        end += 1 + count_digits(end + 1);
    double seconds = strtod(value, NULL);
    if (whole == 0 || *end != '\0' || seconds <= 0)
        die(2, "bad value for %s: %s", option, value);
    return (int64_t)(seconds * SECOND);
}

/* Returns the value, after `=` or in the next word; NULL where the word is another option. */
static const char *value_of(char **word, const char *option)
{
    size_t length = strlen(option);
    if (strncmp(*word, option, length) == 0 && (*word)[length] == '=')
        return *word + length + 1;
    if (strcmp(*word, option) != 0)
        return NULL;
    if (!word[1])
        die(2, "no value for %s", option);
    return word[1];
}

/* Sets an option that takes a value; returns its last word. */
static char **set_option(struct options *o, char **word)
{
    const char *value;
    if ((value = value_of(word, "--host")))
        o->host = value;
    else if ((value = value_of(word, "--port")))
        o->port = parse_number("--port", value, 0, 65535);
    else if ((value = value_of(word, "--max-clients")))
        o->max_clients = parse_number("--max-clients", value, 1, LONG_MAX);
    else if ((value = value_of(word, "--max-queue")))
        o->max_queue = parse_number("--max-queue", value, LEAST_QUEUE, LONG_MAX);
    else if ((value = value_of(word, "--join-timeout")))
        o->join_timeout = parse_seconds("--join-timeout", value);
    else if ((value = value_of(word, "--rate")))
        o->rate = parse_number("--rate", value, 1, LONG_MAX);
    else if ((value = value_of(word, "--log")))
        o->log = value;
    else if ((value = value_of(word, "--accounts")))
        o->accounts = value;
    else
        die(2, "unknown argument: %s (--help lists all options)", *word);
    return value == word[1] ? word + 1 : word;
}

static void check_options(const struct options *options)
{
    if (*options->host == '\0' || strcmp(options->host, "*") == 0)
        die(2, "bad value for --host: %s", options->host);
    if (options->members_only && !options->accounts)
        die(2, "--members-only needs --accounts");
#ifndef ACCOUNTS
    if (options->accounts)
        die(2, "--accounts needs a build with accounts: "
               "gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread");
#endif
}

/* Reads the command line. The first error, --help or --version ends the program. */
static struct options parse_options(char **word)
{
    struct options options = {.host = HOST,
                              .port = PORT,
                              .max_clients = MAX_CLIENTS,
                              .max_queue = MAX_QUEUE,
                              .join_timeout = JOIN_SECONDS * SECOND};
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
