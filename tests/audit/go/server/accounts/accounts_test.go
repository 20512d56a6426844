package accounts

import (
	"maps"
	"strings"
	"testing"
)

const hash = "$2y$10$abcdefghijklmnopqrstuv0123456789ABCDEFGHIJKLMNOPQRSTU"

func isName(name string) bool {
	return len(name) <= 32 && name != "" && strings.Trim(strings.ToLower(name), "abcdefghijklmnopqrstuvwxyz0123456789_-") == ""
}

// FuzzAccounts: a change of a valid file makes a valid file, with the change and all other accounts.
// "@" stands for a valid hash.
func FuzzAccounts(f *testing.F) {
	f.Add("# a comment\n\nBob:@\nx:@", "bob", true)
	f.Add("alice:@\nALICE:@\n", "alice", false)
	f.Add("alice:$2y$09$short\nbob\n:@\n\x00\n\xff:@\n", "c", true)
	f.Fuzz(func(t *testing.T, text, name string, isKept bool) {
		file := file{nameIsValid: isName}
		text = strings.ReplaceAll(text, "@", hash)
		wanted, err := file.parse(text)
		if err != nil || !isName(name) {
			return
		}
		given := ""
		delete(wanted, strings.ToLower(name))
		if isKept {
			given = strings.Replace(hash, "10", "04", 1)
			wanted[strings.ToLower(name)] = given
		}
		changed, err := file.parse(editText(text, name, given))
		if err != nil || !maps.Equal(changed, wanted) {
			t.Fatalf("%q: %v, %v in place of %v", text, err, changed, wanted)
		}
	})
}
