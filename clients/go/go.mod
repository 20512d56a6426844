module chat/client

go 1.21
