package main

import (
	"strings"
	"testing"
	"unicode/utf8"

	"chat/client/options"
	"chat/client/terminal"
)

// listen returns what a client shows if the server's bytes arrive in pieces of this size.
func listen(text string, step int) string {
	c := newClient(options.Options{Retries: 3, RetryDelay: 1}, terminal.Open(), nil)
	for len(text) > 0 {
		n := min(step, len(text))
		c.receive(text[:n], nil)
		text = text[n:]
	}
	return string(c.tty.Out)
}

// FuzzTalk: the output is harmless, and depends only on the server's bytes, not on the pieces in which
// they arrive.
func FuzzTalk(f *testing.F) {
	f.Add(prompt+"Welcome, alice (2 online).\nbob: hi\nalice is now known as carol\n", uint8(5))
	f.Add(prompt+passwordPrompt+"! wrong password\n"+passwordPrompt+shutdown+"\n", uint8(9))
	f.Add("\x1b[2J\r\x00\u202e\xc3(\xa9\r\r\n\xf0\x9f\x99", uint8(0))
	f.Fuzz(func(t *testing.T, text string, step uint8) {
		whole, pieces := listen(text, max(1, len(text))), listen(text, int(step)+1)
		if whole != pieces {
			t.Fatalf("%q at once, but %q in pieces of %d", whole, pieces, int(step)+1)
		}
		isHarmful := func(r rune) bool { return isControl(r) && r != '\n' }
		if !utf8.ValidString(whole) || strings.ContainsFunc(whole, isHarmful) {
			t.Fatalf("%q is shown", whole)
		}
	})
}
