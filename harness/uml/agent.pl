#!/usr/bin/perl
# The agent of a node with a kernel of its own: process 1 of the machine, the engine's hand inside.
#
# It is in Perl because Perl is in every Debian image (perl-base is essential) and starts fast; it
# loads next to no modules, as every file costs a machine milliseconds.  It decides nothing: it starts,
# signals, reads and writes what it is told, and passes on what processes and the kernel say.
#
# It talks over a serial line that no fault of the network can touch.  A frame is a length, then the
# number of the request that it belongs to (0: an event of its own), then fields, each with its length;
# all numbers are 32 bits, little-endian.  What the verbs are and answer: harness/uml/channel.py.
use strict;

my ($SYS_MOUNT, $TCSETS, $WNOHANG, $EAGAIN, $EEXIST) = (165, 0x5402, 1, 11, 17);
my ($O_RDWR, $O_NOCTTY, $O_NONBLOCK, $O_WRONLY, $F_SETFL) = (2, 0400, 04000, 1, 4);
my ($AF_UNIX, $AF_NETLINK, $SOCK_DGRAM, $SOCK_RAW) = (1, 16, 2, 3);
# RTMGRP_LINK, RTMGRP_NEIGH, RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR of rtnetlink(7)
my $NEWS = 0x1 | 0x4 | 0x10 | 0x100;
my ($NLMSG_ERROR, $NLMSG_DONE) = (2, 3);
my $CHUNK = 32768;
my $ACKNOWLEDGED = 1024;    # as harness/uml/channel.py counts on

my (%ready, %process);    # by descriptor: what to do; by process number: what is known

# -- the line to the engine ------------------------------------------------------------------------

my $line;

sub answer {
    my ($number, @fields) = @_;
    my $frame = pack('V(V/a*)*', $number, @fields);
    $frame = pack('V', length $frame) . $frame;
    my $sent = 0;
    while ($sent < length $frame) {
        my $now = syswrite($line, $frame, length($frame) - $sent, $sent);
        $sent += $now if defined $now;
    }
}

sub open_line {
    sysopen($line, '/dev/ttyS0', $O_RDWR | $O_NOCTTY) or die "ttyS0: $!";
    # struct termios: no echo, no line discipline's work; 8 bits, read what is there.
    ioctl($line, $TCSETS, pack('L4C20', 0, 0, 0x30 | 0x80 | 0x800 | 0xf, 0, 0, (0) x 5, 0, 1, (0) x 12))
        or die "ttyS0: $!";
    my ($received, $taken) = ('', 0);
    watch($line, sub {
        $taken += sysread($line, $received, $CHUNK, length $received) || return;
        if ($taken >= $ACKNOWLEDGED) {
            answer(0, 'taken', $taken);
            $taken = 0;
        }
        while (length $received >= 4) {
            my $length = unpack('V', $received);
            last if length $received < 4 + $length;
            my ($number, $verb, @fields) = unpack('V(V/a*)*', substr($received, 4, $length));
            substr($received, 0, 4 + $length) = '';
            my $do = main->can("do_$verb");
            eval { $do->($number, @fields); 1 } or answer($number, 'error', 38, "$verb: $@");
        }
    });
}

sub watch { my ($handle, $work) = @_; $ready{fileno $handle} = [$handle, $work]; }

sub unwatch { my ($handle) = @_; delete $ready{fileno $handle}; close $handle; }

# -- processes -------------------------------------------------------------------------------------

sub find_program {
    my ($program, $path) = @_;
    return $program if $program =~ m{/};
    for my $folder (split /:/, $path) { return "$folder/$program" if -x "$folder/$program"; }
    return undef;
}

sub input {
    my ($data) = @_;
    my $name = length $data ? "/run/.stdin-$$" : '/dev/null';
    if (length $data) {
        open(my $out, '>', $name) or die "$name: $!";
        syswrite($out, $data);
    }
    open(my $in, '<', $name) or die "$name: $!";
    unlink $name if length $data;
    return $in;
}

# start KIND NOTIFY STDIN COUNT ENVIRONMENT... ARGV...
# Answers: started PID | error ERRNO TEXT; then out STREAM DATA..., notify DATA..., exit STATUS.
sub do_start {
    my ($number, $kind, $notify, $stdin, $count, @words) = @_;
    my %environment = map { split /=/, $_, 2 } splice(@words, 0, $count);
    my $path = find_program($words[0], $environment{PATH});
    return answer($number, 'error', 2, "no program $words[0]") unless defined $path;
    my $notices = length $notify ? listen_for_notices($number, $notify) : undef;
    my $in = input($stdin);
    pipe(my $out, my $out_write);
    pipe(my $err, my $err_write);
    pipe(my $failed, my $failed_write);
    my $pid = fork();
    if (!defined $pid) { answer($number, 'error', $! + 0, "fork: $!"); return; }
    if ($pid == 0) {
        syscall(112);    # setsid
        $SIG{$_} = 'DEFAULT' for qw(CHLD PIPE);
        open(STDIN, '<&', $in);
        open(STDOUT, '>&', $out_write);
        open(STDERR, '>&', $err_write);
        %ENV = %environment;
        no warnings;
        exec { $path } @words;
        syswrite($failed_write, pack('V', $! + 0));
        syscall(231, 127);    # exit_group: nothing of the agent's is to be flushed or destroyed
    }
    close $_ for $in, $out_write, $err_write, $failed_write;
    my $known = $process{$pid} = {number => $number, kind => $kind, pid => $pid, notices => $notices};
    $known->{failed} = $failed;
    watch($failed, sub { started($known) });
    my $stream = 0;
    for my $from ($out, $err) {
        my $which = ++$stream;
        fcntl($from, $F_SETFL, $O_NONBLOCK);
        $known->{$which} = $from;
        watch($from, sub { forget_output($known, $which) if pass_on($known, $which); });
    }
}

# The other end of this pipe closes when the program is there, or says why it is not.
sub started {
    my ($known) = @_;
    my $failed = delete $known->{failed} or return;
    my $got = sysread($failed, my $why, 4);
    unwatch($failed);
    if ($got) {
        local $! = unpack('V', $why);
        answer($known->{number}, 'error', $! + 0, "$!");
        $known->{dead} = 1;
    } else {
        answer($known->{number}, 'started', $known->{pid});
    }
}

# Pass on what a process has written; true at its end.
sub pass_on {
    my ($known, $which) = @_;
    my $from = $known->{$which} or return 0;
    while (1) {
        my $got = sysread($from, my $data, $CHUNK);
        return !$got if !$got && (defined $got || $! != $EAGAIN);
        return 0 unless defined $got;
        answer($known->{number}, 'out', $which, $data) unless $known->{dead};
    }
}

sub forget_output {
    my ($known, $which) = @_;
    my $from = delete $known->{$which} or return;
    unwatch($from);
}

sub listen_for_notices {
    my ($number, $path) = @_;
    unlink $path;
    socket(my $notices, $AF_UNIX, $SOCK_DGRAM, 0) or die "socket: $!";
    bind($notices, pack('S a*', $AF_UNIX, "$path\0")) or die "$path: $!";
    watch($notices, sub {
        my $said;
        answer($number, 'notify', $said) if defined recv($notices, $said, 4096, 0);
    });
    return $notices;
}

# What a command leaves running in the background is not waited for, and nobody listens to it any more;
# a service's children are listened to until the last has closed its output.
sub reap {
    while ((my $pid = waitpid(-1, $WNOHANG)) > 0) {
        my $status = $?;
        my $known = delete $process{$pid} or next;
        started($known);
        for my $which (1, 2) {
            my $ended = pass_on($known, $which);
            forget_output($known, $which) if $ended || $known->{kind} eq 'run' || $known->{dead};
        }
        unwatch($known->{notices}) if $known->{notices};
        answer($known->{number}, 'exit', $status) unless $known->{dead};
    }
}

# -- signals ---------------------------------------------------------------------------------------

# state letter, parent and flags of a process (proc(5)); nothing if it has ended
sub stat_of {
    my ($pid) = @_;
    open(my $stat, '<', "/proc/$pid/stat") or return;
    my $text = <$stat>;
    return unless defined $text;
    $text =~ s/^.*\) //s;
    my ($state, $parent) = split ' ', $text;
    return ($state, $parent);
}

# every process but the agent and the kernel's own threads: number => parent
sub everybody {
    opendir(my $proc, '/proc') or return;
    my %parent;
    for my $pid (grep { /^\d+$/ && $_ > 2 } readdir $proc) {
        my (undef, $parent) = stat_of($pid);
        $parent{$pid} = $parent if defined $parent && $parent != 2;
    }
    return %parent;
}

# a process and its descendants, parents first
sub tree {
    my ($root) = @_;
    my %parent = everybody();
    my @found = exists $parent{$root} ? ($root) : ();
    for my $pid (@found) { push @found, grep { $parent{$_} == $pid } sort { $a <=> $b } keys %parent; }
    return @found;
}

sub await_stop {
    for my $pid (@_) {
        for (1 .. 1000) {
            my ($state) = stat_of($pid);
            last if !defined $state || $state =~ /[TtZX]/;
            select(undef, undef, undef, 0.001);
        }
    }
}

sub do_kill { my ($number, $pid, $signal) = @_; kill($signal, $pid); answer($number, 'ok'); }

sub do_tree { my ($number, $root) = @_; answer($number, 'ok', tree($root)); }

# The states of processes, as letters; of those that have ended nothing.
sub do_states { my ($number, @pids) = @_; answer($number, 'ok', join '', map { (stat_of($_))[0] } @pids); }

# signal PID SIGNAL FIRST: a process's tree from its FIRST member on, as if at one instant.
sub do_signal {
    my ($number, $root, $signal, $first) = @_;
    my ($STOP, $CONT, $KILL) = (19, 18, 9);
    my (@stopped, %seen);
    if ($signal == $CONT) {
        my @all = tree($root);
        kill($CONT, $_) for @all[$first .. $#all];
        return answer($number, 'ok');
    }
    # A stopped parent can neither start nor mourn a child: the set is final when it stops growing.
    while (1) {
        my @all = tree($root);
        my @fresh = grep { !$seen{$_}++ } @all[$first .. $#all] or last;
        kill($STOP, $_) for @fresh;
        await_stop(@fresh);
        push @stopped, @fresh;
    }
    if ($signal != $STOP) {
        kill($signal, $_) for reverse @stopped;
        if ($signal != $KILL) { kill($CONT, $_) for reverse @stopped; }
    }
    answer($number, 'ok');
}

# kill(2) with -1 spares process 1, which is the agent.
sub do_freeze {
    my ($number) = @_;
    kill('STOP', -1);
    my %parent = everybody();
    await_stop(keys %parent);
    answer($number, 'ok');
}

# thaw SPARED...: everybody else goes on
sub do_thaw {
    my ($number, @spared) = @_;
    my %spared = map { $_ => 1 } @spared;
    my %parent = everybody();
    kill('CONT', $_) for grep { !$spared{$_} } keys %parent;
    answer($number, 'ok');
}

# -- files -----------------------------------------------------------------------------------------

sub refuse { my ($number, $path) = @_; answer($number, 'error', $! + 0, $path); }

sub do_read {
    my ($number, $path) = @_;
    open(my $file, '<', $path) or return refuse($number, $path);
    my $data = '';
    while (1) {
        my $got = sysread($file, $data, $CHUNK, length $data);
        return refuse($number, $path) unless defined $got;
        last unless $got;
    }
    answer($number, 'ok', $data);
}

sub make_folders {
    my ($path) = @_;
    my $at = '';
    for my $part (split m{/}, $path =~ s{/[^/]*$}{}r) {
        $at .= "$part/";
        mkdir $at or $! == $EEXIST or return 0;
    }
    return 1;
}

sub do_write {
    my ($number, $path, $mode, $data) = @_;
    make_folders($path) or return refuse($number, $path);
    open(my $file, '>', $path) or return refuse($number, $path);
    put($file, $data) && chmod($mode, $path) or return refuse($number, $path);
    close $file;
    answer($number, 'ok');
}

# The kernel's own files take one write, and are not made.
sub do_set {
    my ($number, $path, $data) = @_;
    sysopen(my $file, $path, $O_WRONLY) or return refuse($number, $path);
    put($file, $data) or return refuse($number, $path);
    answer($number, 'ok');
}

sub put {
    my ($file, $data) = @_;
    my $sent = 0;
    while ($sent < length $data) {
        my $now = syswrite($file, $data, length($data) - $sent, $sent);
        return 0 unless defined $now;
        $sent += $now;
    }
    return 1;
}

sub do_exists { my ($number, $path) = @_; answer($number, 'ok', lstat($path) ? 1 : 0); }

sub do_listdir {
    my ($number, $path) = @_;
    opendir(my $folder, $path) or return refuse($number, $path);
    answer($number, 'ok', grep { $_ ne '.' && $_ ne '..' } readdir $folder);
}

# -- the kernel ------------------------------------------------------------------------------------

sub do_load {
    my ($number, @names) = @_;
    require '/vipdrill/modprobe';
    for my $name (@names) {
        my $wrong = load($name);
        return answer($number, 'error', 2, $wrong) if $wrong;
    }
    answer($number, 'ok');
}

# netlink REQUESTS COUNT: all that the kernel says until it has acknowledged COUNT times or is done.
sub do_netlink {
    my ($number, $requests, $count) = @_;
    socket(my $route, $AF_NETLINK, $SOCK_RAW, 0) or return refuse($number, 'netlink');
    setsockopt($route, 270, 11, pack('i', 1));    # SOL_NETLINK, NETLINK_EXT_ACK
    send($route, $requests, 0) or return refuse($number, 'netlink');
    my $answer = '';
    while ($count > 0) {
        defined recv($route, my $data, 1 << 17, 0) or return refuse($number, 'netlink');
        $answer .= $data;
        for (my $at = 0; $at + 16 <= length $data;) {
            my ($length, $kind) = unpack('VS', substr($data, $at, 6));
            $count-- if $kind == $NLMSG_ERROR || $kind == $NLMSG_DONE;
            $at += ($length + 3) & ~3;
        }
    }
    answer($number, 'ok', $answer);
}

# watch: from now on every change of a link or an address is an event; answers once that is so.
sub do_watch {
    my ($number) = @_;
    socket(my $news, $AF_NETLINK, $SOCK_RAW, 0) or return refuse($number, 'netlink');
    setsockopt($news, 1, 8, pack('i', 1 << 20));    # SOL_SOCKET, SO_RCVBUF
    bind($news, pack('SSLL', $AF_NETLINK, 0, 0, $NEWS)) or return refuse($number, 'netlink');
    watch($news, sub {
        my $heard = recv($news, my $data, 1 << 17, 0);
        answer(0, 'news', now(), defined $heard ? $data : '');
    });
    answer($number, 'ok');
}

# poll PATH PERIOD: from now on what is in a file is an event whenever it differs from the last time,
# looked at every PERIOD milliseconds; a file that is not there is empty.
my @polls;

sub do_poll {
    my ($number, $path, $period) = @_;
    push @polls, {path => $path, period => $period / 1000};
    answer($number, 'ok');
}

# Looks at what is due; the seconds until the next look, or nothing.
sub poll {
    my $next;
    my $now = @polls ? uptime() : 0;
    for my $known (@polls) {
        if (!defined $known->{due} || $now >= $known->{due}) {
            look($known);
            $known->{due} = $now + $known->{period};
        }
        my $left = $known->{due} - $now;
        $next = $left if !defined $next || $left < $next;
    }
    return $next;
}

sub look {
    my ($known) = @_;
    my ($text, $now) = ('', now());
    if (open(my $file, '<', $known->{path})) {
        1 while sysread($file, $text, $CHUNK, length $text);
    }
    return if defined $known->{text} && $text eq $known->{text};
    $known->{text} = $text;
    answer(0, 'file', $now, $known->{path}, $text);
}

# CLOCK_MONOTONIC in nanoseconds: clock_gettime(2)
sub now {
    my $now = pack('qq', 0, 0);
    syscall(228, 1, $now);
    my ($seconds, $nanoseconds) = unpack('qq', $now);
    return $seconds * 1_000_000_000 + $nanoseconds;
}

sub uptime { return now() / 1e9; }

# sync: an answer to this comes after all that had happened before.
sub do_sync { my ($number) = @_; answer($number, 'ok'); }

# -- life ------------------------------------------------------------------------------------------

sub mount {
    my ($kind, $at, $data) = @_;
    mkdir $at;
    syscall($SYS_MOUNT, $kind, $at, $kind, 0, $data) == 0 or warn "mount $at: $!\n";
}

sub set {
    my ($path, $text) = @_;
    open(my $file, '>', $path) or return warn "$path: $!\n";
    syswrite($file, $text);
}

$| = 1;
mount('proc', '/proc', '');
mount('sysfs', '/sys', '');
mount('tmpfs', '/run', 'mode=0755');
mount('tmpfs', '/dev/shm', 'mode=1777');
mount('devpts', '/dev/pts', '');
symlink('/proc/self/fd', '/dev/fd');
set('/proc/sys/kernel/modprobe', '/vipdrill/modprobe');
set('/proc/sys/net/ipv4/ping_group_range', '0 0');

pipe(my $children, my $children_write);
fcntl($_, $F_SETFL, $O_NONBLOCK) for $children, $children_write;
# It may come between any two steps, also between a refusal and the look at its reason.
$SIG{CHLD} = sub { local $!; syswrite($children_write, 'c'); };
$SIG{PIPE} = 'IGNORE';
watch($children, sub { sysread($children, my $all, 4096); reap(); });
open_line();
answer(0, 'hello', now());

while (1) {
    my $wanted = '';
    vec($wanted, $_, 1) = 1 for keys %ready;
    next if select(my $now = $wanted, undef, undef, poll()) < 1;
    for my $fd (grep { vec($now, $_, 1) } keys %ready) {
        my $entry = $ready{$fd} or next;
        $entry->[1]->();
    }
}
