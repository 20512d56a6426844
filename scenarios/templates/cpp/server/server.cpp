// The beginning of a chat server. It asks each user for a name, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
#include <arpa/inet.h>
#include <err.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <iostream>
#include <mutex>
#include <set>
#include <string>
#include <thread>

std::mutex room; // held by each thread that touches the users
std::set<int> users;

void tell(int user, const std::string &text)
{
    send(user, text.data(), text.size(), MSG_NOSIGNAL);
}

// A line has arrived. TODO: the first line is the name (JOIN-2 to JOIN-4).
void on_line(int, const std::string &)
{
}

void talk(int user)
{
    std::string unread;
    char data[4096];
    for (ssize_t count; (count = recv(user, data, sizeof data, 0)) > 0;) {
        unread.append(data, count);
        for (size_t end; (end = unread.find('\n')) != unread.npos; unread.erase(0, end + 1))
            on_line(user, unread.substr(0, end));
    }
    std::lock_guard<std::mutex> held(room);
    users.erase(user);
    close(user);
}

int listen_on(const std::string &host, const std::string &port)
{
    sockaddr_in at{AF_INET, htons(std::stoi(port)), {}, {}};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    inet_pton(AF_INET, host.c_str(), &at.sin_addr);
    if (bind(listener, (sockaddr *)&at, size) || listen(listener, 128))
        err(1, "cannot listen");
    getsockname(listener, (sockaddr *)&at, &size);
    std::cout << "Listening on " << host << ":" << ntohs(at.sin_port) << std::endl; // PROG-3
    return listener;
}

int main(int count, char **words)
{
    std::string host = "127.0.0.1", port = "8080";
    for (int i = 1; i + 1 < count; i++) { // TODO: the other options of PROG-1.
        if (words[i] == std::string("--host"))
            host = words[i + 1];
        if (words[i] == std::string("--port"))
            port = words[i + 1];
    }
    sigset_t ending;
    sigemptyset(&ending);
    sigaddset(&ending, SIGINT);
    sigaddset(&ending, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &ending, nullptr); // in all threads
    std::thread([listener = listen_on(host, port)] {
        for (int user; (user = accept(listener, nullptr, nullptr)) >= 0;) {
            std::lock_guard<std::mutex> held(room);
            users.insert(user);
            tell(user, "Enter your screen name: "); // JOIN-1
            std::thread(talk, user).detach();
        }
    }).detach();

    int number;
    sigwait(&ending, &number); // the other threads are not joined after it
    std::lock_guard<std::mutex> held(room);
    // STOP-1. TODO: send the first `\n` only if a prompt is pending.
    for (int user : users)
        tell(user, "\nServer is shutting down\n");
    _exit(0);
}
