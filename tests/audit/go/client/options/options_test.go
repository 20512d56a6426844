package options

import (
	"strings"
	"testing"
)

// inRange reports whether all values of options are in range.
func inRange(o Options) bool {
	return o.Host != "" && o.Host != "*" && o.Port >= 1 && o.Port <= 65535 &&
		len(o.Name) <= 1024 && !strings.ContainsAny(o.Name, "\r\n") &&
		o.Retries >= 0 && o.RetryDelay > 0 && o.RetryDelay < 1e9
}

// FuzzOptions: a value is refused, or it is in range.
func FuzzOptions(f *testing.F) {
	for _, value := range []string{"", "0", "8080", "65536", "0.25", "1e3", "a\r", "*", "999999999"} {
		f.Add(value)
	}
	f.Add(strings.Repeat("x", 1025))
	f.Fuzz(func(t *testing.T, value string) {
		for name, set := range setters {
			o := Options{Host: "localhost", Port: 8080, Retries: 10, RetryDelay: 1}
			if set(&o, value) && !inRange(o) {
				t.Fatalf("%s=%q gives %+v", name, value, o)
			}
		}
	})
}
