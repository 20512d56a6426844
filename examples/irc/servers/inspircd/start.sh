#!/bin/sh
# Runs InspIRCd in the foreground; its configuration comes through a pipe, so that no file is left.
# usage: start.sh HOST PORT
PATH=$PATH:/usr/sbin exec inspircd --nofork --nolog --nopid --runasroot --config /dev/stdin <<END
<server name="irc.example.net" description="A server to be tested" network="Example">
<admin name="nobody" nick="nobody" email="nobody@example.net">
<bind address="$1" port="$2" type="clients">
<connect name="main" allow="*" resolvehostnames="no" useident="no" localmax="100" globalmax="100"
    timeout="60" pingfreq="10m" commandrate="1000000" threshold="1000" fakelag="no">
<performance clonesonconnect="no">
<class name="all" commands="*" privs="*" usermodes="*" chanmodes="*">
<type name="operator" classes="all">
<oper name="operator" password="secret" host="*@*" type="operator">
END
