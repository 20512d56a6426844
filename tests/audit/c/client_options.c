/* The command line of the client, a word on each line: it is refused, or its values are in range.
 */
#include "fuzz.h"

#include "../../../clients/c/client.c"

#define MOST_WORDS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *volatile text = strndup((const char *)data, size);
    char *words[MOST_WORDS + 1] = {NULL}, *rest = text;
    struct options options;
    for (size_t i = 0; i < MOST_WORDS && rest; i++)
        words[i] = strsep(&rest, "\n");
    if (setjmp(ended) == 0) {
        parse_options(&options, words);
        HOLDS(*options.host && strcmp(options.host, "*") != 0);
        HOLDS(atol(options.port) >= 1 && atol(options.port) <= 65535);
        HOLDS(!options.name || (!strpbrk(options.name, "\r\n") && strlen(options.name) <= 1024));
        HOLDS(options.retries >= 0 && options.retries <= 999999999);
        HOLDS(options.retry_delay > 0 && options.retry_delay < 1e9);
    } else {
        HOLDS(exit_status == 0 || exit_status == 2);
    }
    free(text);
    return 0;
}
