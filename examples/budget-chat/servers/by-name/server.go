// Budget Chat, wrong in two ways. The room is a map by name, so that one of two namesakes hears
// nothing, and takes both with it when it leaves. And a Scanner takes half a line, at the end, for
// a line.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"log"
	"net"
	"regexp"
	"strings"
	"sync"
)

var (
	goodName = regexp.MustCompile(`^[A-Za-z0-9]+$`)
	lock     sync.Mutex
	room     = map[string]net.Conn{}
)

// tellOthers sends a line to all but one. The lock is held.
func tellOthers(name, line string) {
	for other, conn := range room {
		if other != name {
			fmt.Fprintln(conn, line)
		}
	}
}

func enter(name string, conn net.Conn) {
	lock.Lock()
	defer lock.Unlock()
	var names []string
	for other := range room {
		names = append(names, other)
	}
	fmt.Fprintln(conn, "* Here are:", strings.Join(names, ", "))
	tellOthers(name, "* "+name+" is here")
	room[name] = conn
}

func say(name, message string) {
	lock.Lock()
	defer lock.Unlock()
	tellOthers(name, "["+name+"] "+message)
}

func leave(name string) {
	lock.Lock()
	defer lock.Unlock()
	delete(room, name)
	tellOthers(name, "* "+name+" is gone")
}

func serve(conn net.Conn) {
	defer conn.Close()
	fmt.Fprintln(conn, "Who are you?")
	lines := bufio.NewScanner(conn)
	if !lines.Scan() || !goodName.MatchString(lines.Text()) {
		return
	}
	name := lines.Text()
	enter(name, conn)
	defer leave(name)
	for lines.Scan() {
		say(name, lines.Text())
	}
}

func main() {
	host := flag.String("host", "127.0.0.1", "address to listen on")
	port := flag.String("port", "7003", "port to listen on")
	flag.Parse()
	listener, err := net.Listen("tcp", net.JoinHostPort(*host, *port))
	if err != nil {
		log.Fatal(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go serve(conn)
	}
}
