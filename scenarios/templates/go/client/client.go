// The beginning of a chat client. It shows what comes, sends what is typed, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	host := flag.String("host", "localhost", "")
	port := flag.String("port", "8080", "") // TODO: the other options of PROG-2.
	flag.Parse()
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	server, err := net.Dial("tcp", net.JoinHostPort(*host, *port))
	if err != nil { // CLIENT-4
		fmt.Fprintf(os.Stderr, "cannot connect to %s:%s: %v\n", *host, *port, err)
		os.Exit(1)
	}
	shown, sent := make(chan bool), make(chan bool)
	go func() {
		io.Copy(os.Stdout, server) // TODO: replace control characters (CLIENT-6).
		close(shown)
	}()
	go func() {
		io.Copy(server, os.Stdin)
		close(sent)
	}()
	for {
		select {
		case <-sent: // CLIENT-3
			sent = nil
			server.(*net.TCPConn).CloseWrite()
		case <-shown: // TODO: the last line decides the exit status (CLIENT-5).
			if sent != nil {
				fmt.Fprintln(os.Stderr, "Disconnected")
			}
			return
		case <-signals: // CLIENT-2
			server.Close()
			return
		}
	}
}
