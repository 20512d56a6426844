/*
 * options.h: the command line of the client (PROG-2, PROG-4 to PROG-8).
 *
 * Offers `struct options` and `parse_options`, which returns only for a good command line.
 * Needs nothing.
 */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION   "0.1.0"
#define NAME_MOST (16 * 1024) /* bytes of --name */

struct options {
    const char *host;
    const char *port; /* as typed, once it is known to be a number */
    const char *name; /* the answer to the prompt for the name, or NULL: the user is asked */
    int retries;
    double retry_delay;
};

static const char usage[] =
    "usage: chat-client [--host HOST] [--port PORT] [--name NAME]\n"
    "                   [--retries N] [--retry-delay SECONDS] [--help] [--version]\n";

static const char help[] =
    "\n"
    "A chat client. It shows what the server sends and sends each line of its input.\n"
    "Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH tunnel\n"
    "or a TLS proxy (README.md explains how).\n\n"
    "  --host HOST            where the server is (default localhost)\n"
    "  --port PORT            its port (default 8080)\n"
    "  --name NAME            the screen name to give (default: the user is asked)\n"
    "  --retries N            how often a lost connection is tried again; 0: never (default 10)\n"
    "  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to 30 s\n"
    "                         (default 1)\n"
    "  --help                 print this and exit\n"
    "  --version              print the version and exit\n\n"
    "In the chat, /help lists the commands. Ctrl+C ends the client; so does Ctrl+D, once all is\n"
    "sent.\n"
#ifdef LINE_EDITING
    "On a terminal a line can be edited; Up brings back those typed before.\n";
#else
    "To edit lines, build it so: gcc -DLINE_EDITING -o chat_client client.c -lreadline\n";
#endif

/* Ends the program for a bad command line. */
static _Noreturn void __attribute__((format(printf, 1, 2))) usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%schat-client: error: ", usage);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

/* A number is one to nine ASCII digits; gives what stands behind it, or NULL. */
static const char *skip_number(const char *value)
{
    size_t digits = strspn(value, "0123456789");
    return digits >= 1 && digits <= 9 ? value + digits : NULL;
}

static bool set_host(struct options *options, const char *value)
{
    options->host = value;
    return *value && strcmp(value, "*") != 0;
}

static bool set_port(struct options *options, const char *value)
{
    const char *end = skip_number(value);
    long port = strtol(value, NULL, 10);
    options->port = value;
    return end && !*end && port >= 1 && port <= 65535;
}

/* The server judges whether the name is a good one, if it is one line. */
static bool set_name(struct options *options, const char *value)
{
    options->name = value;
    return !strpbrk(value, "\r\n") && strlen(value) <= NAME_MOST;
}

static bool set_retries(struct options *options, const char *value)
{
    const char *end = skip_number(value);
    options->retries = (int)strtol(value, NULL, 10);
    return end && !*end;
}

static bool set_retry_delay(struct options *options, const char *value)
{
    const char *end = skip_number(value);
    if (end && *end == '.')
        end = skip_number(end + 1);
    options->retry_delay = strtod(value, NULL);
    return end && !*end && options->retry_delay > 0;
}

static const struct value_option {
    const char *name;
    bool (*set)(struct options *options, const char *value); /* false: a bad value */
} value_options[] = {
    {"--host", set_host},
    {"--port", set_port},
    {"--name", set_name},
    {"--retries", set_retries},
    {"--retry-delay", set_retry_delay},
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
    *options = (struct options){"localhost", "8080", NULL, 10, 1};
    for (; *word; word++) {
        if (strcmp(*word, "--help") == 0) {
            printf("%s%s", usage, help);
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--version") == 0) {
            puts("chat-client " VERSION " (C, protocol 1)");
            exit(EXIT_SUCCESS);
        } else {
            word = set_option(options, word);
        }
    }
}

#endif
