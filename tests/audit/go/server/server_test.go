package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"chat/server/stream"
)

// seeds are the first inputs.
var seeds = []string{
	"hello\r\nhello, all\n\n/who\r\n",
	"héllo\n日本\u2028\n\u202ex\n\xed\xa0\x80\n\xc3\n\x00\n",
	strings.Repeat("x", maxLine) + "\r\n" + strings.Repeat("x", maxLine+1) + "\n",
	"/msg BOB hi\n/nick carol\n/nick BOB\n//half\n/help\n/x y\n/quit\n",
	"0alice\n1/who\n2/kick bob\n3 \n0server\n",
}

// saidOf returns the error for each line, or the line, if the input arrives in pieces of this size.
func saidOf(text []byte, step int) (said []string) {
	var inbox []byte
	for len(text) > 0 {
		n := min(step, len(text))
		inbox = append(inbox, text[:n]...)
		text = text[n:]
		for line, isLine := takeLine(&inbox); isLine; line, isLine = takeLine(&inbox) {
			problem := checkLine(line)
			if problem == "" {
				problem = line
			}
			said = append(said, problem)
		}
	}
	return said
}

// FuzzLines: lines and errors depend only on the bytes, not on the pieces in which they arrive.
func FuzzLines(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, text []byte, step uint8) {
		whole, pieces := saidOf(text, max(1, len(text))), saidOf(text, int(step)+1)
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") {
			t.Fatalf("%q at once, but %q in pieces of %d", whole, pieces, int(step)+1)
		}
	})
}

// checkText checks that a text has no control characters except line ends.
func checkText(t *testing.T, text string) {
	if !utf8.ValidString(text) || strings.ContainsFunc(strings.ReplaceAll(text, "\n", ""), isControl) {
		t.Fatalf("bad text: %q", text)
	}
}

// heard takes all bytes that wait for a user, as its socket would.
func heard(u *user) string {
	var text strings.Builder
	for u.cursor.Waiting() > 0 {
		n := 0
		for _, piece := range u.cursor.Pieces(sendPieces) {
			text.Write(piece)
			n += len(piece)
		}
		u.cursor.Advance(n)
	}
	return text.String()
}

// FuzzCommands: whatever users and the operator say, users receive only valid text, and the room
// stays consistent. A line begins with the digit of its speaker; 3 is the operator.
func FuzzCommands(f *testing.F) {
	for _, seed := range seeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		s := newServer()
		s.options.MaxQueue, s.options.Quiet = 1024*1024, true
		users := []*user{{}, {}, {}}
		for _, u := range users {
			u.cursor = stream.Cursor{Stream: s.stream}
			s.connections[u] = struct{}{}
		}
		s.handleName(users[0], "alice")
		s.handleName(users[1], "Bob")
		for line := range strings.Lines(string(text)) {
			who := int(line[0]) % 4
			if who == 3 {
				s.takeConsole([]byte(line[1:]))
			} else if u := users[who]; s.gate(u) == open {
				u.inbox = append(u.inbox, line[1:]...)
				s.takeUp(u)
			}
			checkRoom(t, s, users)
		}
	})
}

func checkRoom(t *testing.T, s *server, users []*user) {
	inRoom := 0
	for _, u := range users {
		checkText(t, heard(u))
		if u.phase != chatting {
			continue
		}
		inRoom++
		if !nameIsValid(u.name) || s.find(u.name) != u {
			t.Fatalf("%q is not found by its name", u.name)
		}
	}
	if inRoom != len(s.users) {
		t.Fatalf("%d are in the room, which has %d", inRoom, len(s.users))
	}
	s.load = 0
}
