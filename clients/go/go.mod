module chat/client

go 1.24.0

require golang.org/x/sys v0.41.0

require (
	github.com/ergochat/readline v0.1.3
	golang.org/x/text v0.34.0 // indirect
)
