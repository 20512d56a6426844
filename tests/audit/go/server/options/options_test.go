package options

import (
	"slices"
	"strings"
	"testing"
)

// FuzzOptions: a command line, one word on each line, is refused, or all values are in range.
func FuzzOptions(f *testing.F) {
	f.Add("--host=::1\n--port\n0\n--max-clients\n5\n--max-queue=4096\n--join-timeout\n0.25\n--rate=9")
	f.Add("--log\nx\n--accounts=y\n--members-only\n--quiet")
	f.Add("--port=65536\n--join-timeout=0.0\n--max-queue=9999999999\n--host=*\n--rate")
	f.Fuzz(func(t *testing.T, text string) {
		words := strings.Split(text, "\n")
		if slices.Contains(words, "--help") || slices.Contains(words, "--version") {
			return // they end the program
		}
		type refusal struct{}
		defer func() {
			if problem := recover(); problem != nil && problem != (refusal{}) {
				panic(problem)
			}
		}()
		o := ParseOptions(words, func(int, string) { panic(refusal{}) })
		isGood := o.Host != "" && o.Host != "*" && o.Port >= 0 && o.Port <= 65535 &&
			o.MaxClients >= 1 && o.MaxQueue >= 4096 && o.JoinTimeout > 0 && o.Rate >= 0 &&
			(!o.MembersOnly || o.HasAccounts)
		if !isGood {
			t.Fatalf("%q gives %+v", words, o)
		}
	})
}
