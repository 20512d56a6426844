/* The command line of the server, a word on each line: it is refused, or its values are in range.
 */
#include "fuzz.h"

#define ACCOUNTS
#include "../../../servers/c/server.c"

#define MOST_WORDS 16

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *volatile text = strndup((const char *)data, size);
    char *words[MOST_WORDS + 1] = {NULL}, *rest = text;
    for (size_t i = 0; i < MOST_WORDS && rest; i++)
        words[i] = strsep(&rest, "\n");
    if (setjmp(ended) == 0) {
        struct options options = parse_options(words);
        HOLDS(*options.host && strcmp(options.host, "*") != 0);
        HOLDS(options.port >= 0 && options.port <= 65535);
        HOLDS(options.max_clients >= 1 && options.max_clients <= 999999999);
        HOLDS(options.max_queue >= LEAST_QUEUE && options.max_queue <= 999999999);
        HOLDS(options.join_timeout > 0 && options.join_timeout <= 1000000000 * SECOND);
        HOLDS(options.rate >= 0 && options.rate <= 999999999);
        HOLDS(!options.members_only || options.accounts);
    } else {
        HOLDS(exit_status == 0 || exit_status == 2);
    }
    free(text);
    return 0;
}
