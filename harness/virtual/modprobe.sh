#!/run/vipdrill/sh
# What the guest's kernel calls for a module that somebody wants: modprobe -q -- NAME.
# Debian's kernel image has no modprobe(8); the guest's init puts this and its tools at /run/vipdrill.
cd /run/vipdrill/modules || exit 1
for wanted; do :; done

# A shell reads byte by byte, and a system call is dear in a guest; awk reads a file in a few.
for path in $(/run/vipdrill/awk -v wanted="$wanted" '
    function plain(name) { gsub("-", "_", name); return name }
    BEGIN { asked = name = plain(wanted) }
    FILENAME == "modules.alias" { if (plain($2) == asked) name = plain($3); next }
    {
        own = $1
        sub(".*/", "", own)
        if (plain(own) != name ".ko:") next
        sub(":", "")
        for (i = NF; i > 0; i--) print $i
    }' modules.alias modules.dep); do
    /run/vipdrill/insmod "$path" 2>/dev/null
    found=yes
done
[ "$found" = yes ]
