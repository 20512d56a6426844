# A chat server written in five minutes: it does what scenarios/chat.yaml asks for, and nothing more.
# docs/implementation.md explains how it takes part.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;

my ($port) = "@ARGV" =~ /--port (\d+)/;
my $listener = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 128, ReuseAddr => 1)
    or die "cannot listen: $!\n";
my $select = IO::Select->new($listener);
my (%name, %unread);    # by connection

$| = 1;
printf "Listening on 127.0.0.1:%d\n", $listener->sockport;

$SIG{INT} = $SIG{TERM} = sub {
    tell_all('Server is shutting down');
    exit 0;
};

while (my @ready = $select->can_read) {
    for my $socket (@ready) {
        if ($socket == $listener) {
            my $newcomer = $listener->accept;
            $select->add($newcomer);
            syswrite $newcomer, 'Enter your screen name: ';
        }
        elsif (sysread $socket, $unread{$socket}, 4096, length($unread{$socket} // '')) {
            line($socket, $1) while $unread{$socket} =~ s/^(.*)\n//;
        }
        else {
            $select->remove($socket);
            my $name = delete $name{$socket};
            tell_all("$name has left the chat") if defined $name;
            close $socket;
        }
    }
}

sub line {
    my ($socket, $text) = @_;
    if (defined $name{$socket}) {
        return tell_all("$name{$socket}: $text", $socket) if $text !~ m{^/};
        return syswrite $socket, "! unknown command: $text (try /help)\n";
    }
    $name{$socket} = $text;
    my $online = keys %name;
    syswrite $socket, "Welcome, $text ($online online). Type /help for commands.\n";
    tell_all("$text has joined the chat", $socket);
}

sub tell_all {
    my ($text, $except) = @_;
    for my $socket ($select->handles) {
        next unless defined $name{$socket};
        next if $except && $socket == $except;
        syswrite $socket, "$text\n";
    }
}
