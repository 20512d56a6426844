module chat/server

go 1.21
