// The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iostream>
#include <string>

// Connects to the first address that answers; -1 if none does. TODO: CLIENT-7.
int connect_to(const std::string &host, const std::string &port)
{
    addrinfo *found = nullptr, hints{};
    hints.ai_socktype = SOCK_STREAM;
    if (getaddrinfo(host.c_str(), port.c_str(), &hints, &found))
        return -1;
    for (addrinfo *one = found; one; one = one->ai_next) {
        int server = socket(one->ai_family, SOCK_STREAM, 0);
        if (!connect(server, one->ai_addr, one->ai_addrlen))
            return server;
        close(server);
    }
    return -1;
}

int main(int count, char **words)
{
    std::string host = "localhost", port = "8080";
    for (int i = 1; i + 1 < count; i++) { // TODO: the other options of PROG-2.
        if (words[i] == std::string("--host"))
            host = words[i + 1];
        if (words[i] == std::string("--port"))
            port = words[i + 1];
    }
    signal(SIGPIPE, SIG_IGN);
    for (int number : {SIGINT, SIGTERM})
        signal(number, [](int) { _exit(0); }); // CLIENT-2
    int server = connect_to(host, port);
    if (server < 0) {
        std::cerr << "cannot connect to " << host << ":" << port << ": no answer\n"; // CLIENT-4
        return 1;
    }
    pollfd waiting[] = {{server, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
    char data[65536];
    while (poll(waiting, 2, -1) > 0) {
        if (waiting[0].revents) {
            ssize_t size = read(server, data, sizeof data);
            if (size <= 0)
                break;
            std::cout.write(data, size).flush(); // TODO: CLIENT-6.
        }
        if (waiting[1].revents) {
            ssize_t size = read(STDIN_FILENO, data, sizeof data);
            if (size > 0) {
                send(server, data, size, 0);
            } else {
                waiting[1].fd = -1;
                shutdown(server, SHUT_WR); // CLIENT-3
            }
        }
    }
    // TODO: the last line decides the exit status (CLIENT-5).
    if (waiting[1].fd >= 0)
        std::cerr << "Disconnected\n";
}
