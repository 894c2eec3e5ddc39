#!/usr/bin/perl
# Loads modules into a machine's kernel, with what they need: modprobe(8) as far as a kernel asks for it.
#
# The node image has no such program, as a node without a kernel of its own has no use for one.  The
# kernel calls this as `modprobe -q -- NAME`, daemons as `modprobe -s -- NAME`, the agent as `load`.
use strict;

my $FOLDER = '/vipdrill/modules';
my ($SYS_FINIT_MODULE, $EEXIST) = (313, 17);

# A name as the kernel compares it: a hyphen and an underscore are the same.
sub plain { my ($name) = @_; $name =~ tr/-/_/; return $name; }

# The first word's other names, from lines of `alias OTHER NAME`.
sub by_alias {
    my ($folder, $wanted) = @_;
    open(my $aliases, '<', "$folder/modules.alias") or return $wanted;
    while (my $entry = <$aliases>) {
        my (undef, $alias, $name) = split ' ', $entry;
        return plain($name) if plain($alias) eq $wanted;
    }
    return $wanted;
}

sub insert {
    my ($path) = @_;
    open(my $file, '<', $path) or return "$path: $!";
    my $options = '';
    return '' if syscall($SYS_FINIT_MODULE, fileno($file), $options, 0) == 0 || $! == $EEXIST;
    return "$path: $!";
}

# Load a module by its name or by an alias of it; '' or why it could not be loaded.
sub load {
    my ($asked) = @_;
    my ($folder) = glob("$FOLDER/*");
    my %needs;
    open(my $list, '<', "$folder/modules.dep") or return "$folder/modules.dep: $!";
    while (my $entry = <$list>) {
        my ($path, $needed) = $entry =~ /^(.*?):\s*(.*)/ or next;
        my ($name) = $path =~ m{([^/]+)\.ko$} or next;
        $needs{plain($name)} = [$path, split(' ', $needed)];
    }
    my $name = plain($asked);
    $name = by_alias($folder, $name) unless $needs{$name};
    if (!$needs{$name}) {
        open(my $builtin, '<', "$folder/modules.builtin") or return "$asked: no such module";
        return (grep { m{([^/]+)\.ko$} && plain($1) eq $name } <$builtin>) ? '' : "$asked: no such module";
    }
    for my $path (reverse @{$needs{$name}}) {
        my $wrong = insert("$folder/$path");
        return $wrong if $wrong;
    }
    return '';
}

if (!caller) {
    my $failed = 0;
    for my $name (grep { !/^-/ } @ARGV) {
        my $wrong = load($name);
        if ($wrong) { print STDERR "modprobe: $wrong\n"; $failed = 1; }
    }
    exit $failed;
}
1;
