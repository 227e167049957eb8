#!/usr/bin/perl
# unpack.pl: all packages of /work/debs into /work/root as dpkg's unpack leaves them: files, control files under
# var/lib/dpkg/info, paragraphs of the status file, file lists, triggers. dpkg does one package at a time and syncs; here
# one runs per processor, so the order of extraction varies. What that could change is the mode and owner of directories
# that several packages ship: they are set at the end, the first package by name wins, base-files before all.
# Formats: deb(5), deb-control(5), deb-triggers(5); dpkg's doc/triggers.txt for var/lib/dpkg/triggers.
use strict;
use warnings;

my $root  = '/work/root';
my $info  = "$root/var/lib/dpkg/info";
my $lists = '/work/lists';
umask 022;
run('mkdir', '-p', $info, $lists, map { "$root/var/lib/dpkg/$_" } qw(updates triggers alternatives));

my @debs = sort glob '/work/debs/*';
my ($base) = grep { m{/base-files_} } @debs or die "unpack: base-files is missing\n";
unpack_one($base);
in_parallel(sort { -s $b <=> -s $a || $a cmp $b } grep { $_ ne $base } @debs);
settle_directories();
write_database();
run('rm', '-r', $lists);

# Extracts one package and notes its list, its directories and its status paragraph.
sub unpack_one {
    my ($deb) = @_;
    my ($file) = $deb =~ m{([^/]+)$};
    my $control = "$lists/$file.control";
    run('dpkg-deb', '--control', $deb, $control);
    my @paragraph = read_lines("$control/control");
    my %field = map { /^([\w-]+): (.*)$/ ? ($1 => $2) : () } @paragraph;
    my $id = $field{Package};
    $id .= ":$field{Architecture}" if ($field{'Multi-Arch'} // '') eq 'same';

    my (@paths, @directories);
    my $command = "dpkg-deb --fsys-tarfile '$deb' | tar -C $root -xpvvf - --numeric-owner --no-overwrite-dir "
        . '--delay-directory-restore --quoting-style=literal';
    open my $tar, '-|', 'bash', '-o', 'pipefail', '-c', $command or die "unpack: tar: $!\n";
    while (my $line = <$tar>) {
        chomp $line;
        my ($mode, $owner, $path) = $line =~ m{^(\S{10})\s+(\d+/\d+)\s+\S+\s+\S+\s+\S+ (.*)$} or die "unpack: $line\n";
        $path =~ s{ -> .*$}{} if $mode =~ /^l/;
        $path =~ s{ link to .*$}{} if $mode =~ /^h/;
        $path =~ s{^\.}{};
        push @directories, "$path\t$file\t$mode\t$owner\n" if $mode =~ /^d/;
        $path =~ s{/$}{};
        push @paths, ($path eq '' ? '/.' : $path) . "\n";
    }
    close $tar or die "unpack: $file: tar failed\n";
    write_file("$info/$id.list",       @paths);
    write_file("$lists/$file.dirs",    @directories);

    my @status = ("$paragraph[0]\n", "Status: install ok unpacked\n", map { "$_\n" } @paragraph[1 .. $#paragraph]);
    if (-e "$control/conffiles") {
        my @files = grep { m{^/} && -f "$root$_" && !-l "$root$_" } read_lines("$control/conffiles");
        if (@files) {
            open my $sums, '-|', 'md5sum', map { "$root$_" } @files or die "unpack: md5sum: $!\n";
            my @sums = map { substr $_, 0, 32 } <$sums>;
            push @status, "Conffiles:\n", map { " $files[$_] $sums[$_]\n" } 0 .. $#files;
        }
    }
    write_file("$lists/$field{Package}.status", @status, "\n");
    for my $member (glob "$control/*") {
        my ($kind) = $member =~ m{([^/]+)$};
        next if $kind eq 'control';
        chmod $kind =~ /^(?:preinst|postinst|prerm|postrm|config)$/ ? 0755 : 0644, $member;
        rename $member, "$info/$id.$kind" or die "unpack: $member: $!\n";
    }
}

# One worker a processor; a failed worker fails the whole.
sub in_parallel {
    my @queue = @_;
    chomp(my $workers = `nproc`);
    my @children;
    for my $worker (0 .. $workers - 1) {
        my $child = fork // die "unpack: fork: $!\n";
        if ($child == 0) {
            for (my $index = $worker; $index < @queue; $index += $workers) { unpack_one($queue[$index]) }
            exit 0;
        }
        push @children, $child;
    }
    my $failed = 0;
    for my $child (@children) { waitpid $child, 0; $failed ||= $? }
    exit 1 if $failed;
}

sub settle_directories {
    my %first;
    for my $file (sort { ($b =~ m{/base-files_}) <=> ($a =~ m{/base-files_}) || $a cmp $b } glob "$lists/*.dirs") {
        for my $line (read_lines($file)) {
            my ($path, undef, $mode, $owner) = split /\t/, $line;
            $first{$path} //= [$mode, $owner];
        }
    }
    for my $path (sort keys %first) {
        next if -l "$root$path" =~ s{/$}{}r;
        my ($mode, $owner) = @{ $first{$path} };
        chown split(m{/}, $owner), "$root$path" or die "unpack: chown $path: $!\n";
        chmod octal($mode), "$root$path" or die "unpack: chmod $path: $!\n";
    }
}

sub write_database {
    my $dpkg = "$root/var/lib/dpkg";
    write_file("$dpkg/status", map { my $file = $_; map { "$_\n" } read_lines($file) } sort glob "$lists/*.status");
    write_file("$dpkg/available");
    write_file("$info/format", "1\n");
    write_file("$dpkg/arch",   "amd64\n");
    my %triggers;
    for my $file (sort glob "$info/*.triggers") {
        my ($id) = $file =~ m{([^/]+)\.triggers$};
        for my $line (read_lines($file)) {
            my ($kind, $what) = $line =~ /^\s*(interest\S*)\s+(\S+)/ or next;
            my $suffix = $kind eq 'interest-noawait' ? '/noawait' : '';
            if ($what =~ m{^/}) { push @{ $triggers{File} }, "$what $id$suffix\n" }
            else                { push @{ $triggers{$what} }, "$id$suffix\n" }
        }
    }
    write_file("$dpkg/triggers/$_", @{ $triggers{$_} }) for sort keys %triggers;
}

# drwxr-sr-t as a number.
sub octal {
    my @bits = split //, substr $_[0], 1;
    my $value = 0;
    $value = $value * 2 + ($_ =~ /[-ST]/ ? 0 : 1) for @bits;
    $value += 04000 if $bits[2] =~ /s/i;
    $value += 02000 if $bits[5] =~ /s/i;
    $value += 01000 if $bits[8] =~ /t/i;
    return $value;
}

sub run { system(@_) == 0 or die "unpack: $_[0] failed\n" }

sub read_lines {
    open my $handle, '<', $_[0] or die "unpack: $_[0]: $!\n";
    chomp(my @lines = <$handle>);
    return @lines;
}

sub write_file {
    my ($path, @lines) = @_;
    open my $handle, '>', $path or die "unpack: $path: $!\n";
    print {$handle} @lines;
    close $handle or die "unpack: $path: $!\n";
}
