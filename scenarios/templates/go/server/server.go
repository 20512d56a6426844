// The beginning of a chat server. It asks each user for a name, and ends in order.
// PROTOCOL.md has the rules; `conformance next` shows which rule to implement next.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"
)

type line struct {
	user net.Conn
	text string
}

var (
	came, left = make(chan net.Conn), make(chan net.Conn)
	said       = make(chan line)
	signals    = make(chan os.Signal, 1)
)

func main() {
	host := flag.String("host", "127.0.0.1", "")
	port := flag.String("port", "8080", "")
	flag.Bool("quiet", false, "") // TODO: the other options of PROG-1.
	flag.Parse()
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, *port))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("Listening on %s\n", listener.Addr()) // PROG-3
	go run()
	for {
		if user, err := listener.Accept(); err == nil {
			came <- user
			go listen(user)
		}
	}
}

func listen(user net.Conn) {
	for lines := bufio.NewScanner(user); lines.Scan(); {
		said <- line{user, lines.Text()}
	}
	left <- user
}

// run owns the room: no other goroutine touches it.
func run() {
	users := map[net.Conn]string{}
	for {
		select {
		case user := <-came:
			users[user] = ""
			fmt.Fprint(user, "Enter your screen name: ") // JOIN-1
		case user := <-left:
			delete(users, user)
			user.Close()
		case <-said: // TODO: the first line is the name (JOIN-2 to JOIN-4).
		case <-signals: // STOP-1. TODO: send the first line end only if a prompt is pending.
			for user := range users {
				fmt.Fprint(user, "\nServer is shutting down\n")
				user.Close()
			}
			os.Exit(0)
		}
	}
}
