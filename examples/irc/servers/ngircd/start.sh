#!/bin/sh
# Runs ngIRCd in the foreground; its configuration comes through a pipe, so that no file is left.
# usage: start.sh HOST PORT
PATH=$PATH:/usr/sbin exec ngircd --nodaemon --config /dev/stdin <<END
[Global]
Name = irc.example.net
Info = A server to be tested
Listen = $1
Ports = $2
MotdPhrase = Welcome
ServerUID = $(id -u)
ServerGID = $(id -g)
[Limits]
MaxConnectionsIP = 0
MaxJoins = 0
MaxPenaltyTime = 0
[Options]
DNS = no
Ident = no
PAM = no
[Operator]
Name = operator
Password = secret
END
