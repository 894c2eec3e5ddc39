"""keepalived.conf is read as keepalived 2.3 reads it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.configs.keepalived import read_keepalived
from harness.configs.keepalived_model import KeepalivedConfig, VrrpInstance
from harness.configs.keepalived_tree import parse, split_words, strip_comment
from harness.configs.source import ConfigError, included_from


def instance(body: str, globals_: str = "", blocks: str = "") -> VrrpInstance:
    """One instance with this body; it has an interface, a VRID and an address."""
    return config(body, globals_, blocks).instances[0]


def config(body: str, globals_: str = "", blocks: str = "") -> KeepalivedConfig:
    """A whole configuration around one instance's body."""
    text = (
        f"global_defs {{\n{globals_}\n}}\n{blocks}\nvrrp_instance VI_1 {{\ninterface eth0\n"
        f"virtual_router_id 51\n{body}\nvirtual_ipaddress {{\n10.0.0.100/24\n}}\n}}\n"
    )
    return read_keepalived(text, config_id="lb1")


def remarks(read: KeepalivedConfig) -> str:
    """All remarks as one text."""
    return "\n".join(map(str, read.remarks))


class TestText:
    def test_comments_begin_anywhere_outside_double_quotes(self) -> None:
        assert strip_comment("priority 100 # the better one ! really") == "priority 100"
        assert strip_comment('script "/bin/a # b ! c" # d') == 'script "/bin/a # b ! c"'
        assert strip_comment(r"router_id a\#b") == "router_id a#b"

    def test_a_quoted_part_is_one_word(self) -> None:
        assert split_words('notify "/bin/x a b" root') == ("notify", "/bin/x a b", "root")

    def test_words_end_at_ascii_s_white_space(self) -> None:
        assert split_words("a\tb\fc\vd e\u00a0f") == ("a", "b", "c", "d", "e\u00a0f")

    def test_a_line_without_words_is_none(self) -> None:
        (a,) = parse("\f\na\n\f\n{\n\v\n}\n", "k")
        assert (a.words, a.block) == (("a",), ())

    def test_a_line_of_a_space_that_is_not_ascii_s_is_an_unknown_keyword(self) -> None:
        config = read_keepalived("vrrp_instance a {\n interface eth0\n\u00a0\n virtual_router_id 7\n}\n")
        assert config.instances[0].vrid == 7

    @pytest.mark.parametrize(
        "text",
        [
            "a {\n b 1\n c {\n d\n }\n}\n",
            "a { b 1\n c { d } }",
            "a\n{\nb 1\nc\n{\nd\n}\n}",
            "a{b 1\nc{d}}",
        ],
    )
    def test_braces_may_stand_anywhere(self, text: str) -> None:
        (a,) = parse(text, "k")
        assert a.block is not None
        b, c = a.block
        assert (a.words, b.words, c.words) == (("a",), ("b", "1"), ("c",))
        assert c.block is not None
        assert c.block[0].words == ("d",)

    @pytest.mark.parametrize(
        ("text", "line", "problem"),
        [
            ("a {\n b\n", 1, "not closed"),
            ("a\n}\n", 2, "without a block"),
            ("\n{\n}\n", 2, "without a keyword"),
            ("a\n~SEQ(X, 1, 3) b ${X}\n", 2, "~SEQ"),
            ("$A=$B\n$B=$A\nx $A\n", 3, "for ever"),
            ("$A= \\\nb \\", 1, "does not end"),
        ],
    )
    def test_what_has_no_structure_is_an_error_with_its_line(
        self, text: str, line: int, problem: str
    ) -> None:
        with pytest.raises(ConfigError, match=problem) as raised:
            parse(text, "/etc/keepalived/keepalived.conf")
        assert raised.value.where.line == line
        assert str(raised.value).startswith(f"/etc/keepalived/keepalived.conf:{line}: ")

    def test_lines_for_other_hosts_are_left_out(self) -> None:
        text = "@lb1 priority 100\n@lb2 priority 90\n@^lb1 state BACKUP\n@^lb2 state MASTER\n"
        assert [s.text for s in parse(text, "k", "lb1")] == ["priority 100", "state MASTER"]
        assert [s.text for s in parse(text, "k", "lb2")] == ["priority 90", "state BACKUP"]

    def test_definitions_are_replaced_when_used(self) -> None:
        text = "$BASE=10.2.${SUB}\n$SUB=0\na ${BASE}.1/32\n$SUB=10\na ${BASE}.1/32\nb $SUB c\nd $UNKNOWN\n"
        assert [s.text for s in parse(text, "k")] == [
            "a 10.2.0.1/32",
            "a 10.2.10.1/32",
            "b 10 c",
            "d $UNKNOWN",
        ]

    def test_definitions_of_many_lines_with_definitions_in_them(self) -> None:
        text = (
            "$INNER= \\\n  c ${N} \\\n  d\n"
            "$BLOCK= \\\n a VI_${N} { \\\n   @lb1 b 1 \\\n   @lb2 b 2 \\\n   $INNER \\\n }\n"
            "$N=0\n$BLOCK\n$N=1\n$BLOCK\n"
        )
        first, second = parse(text, "k", "lb2")
        assert (first.words, second.words) == (("a", "VI_0"), ("a", "VI_1"))
        assert [s.text for s in second.block or ()] == ["b 2", "c 1", "d"]

    def test_includes_are_read_with_their_own_names_and_lines(self) -> None:
        files = {"/etc/k/conf.d/a.conf": "x 1\n", "/etc/k/conf.d/b.conf": "\ny 2\n", "/etc/k/z": "z\n"}
        read = parse("include conf.d/*.conf\nend\n", "/etc/k/k.conf", read_included=included_from(files))
        assert [(str(s.where), s.text) for s in read] == [
            ("/etc/k/conf.d/a.conf:1", "x 1"),
            ("/etc/k/conf.d/b.conf:2", "y 2"),
            ("/etc/k/k.conf:2", "end"),
        ]

    def test_a_file_that_includes_itself_is_an_error(self) -> None:
        files = {"/k": "include /k\n"}
        with pytest.raises(ConfigError, match="deep"):
            parse(files["/k"], "/k", read_included=included_from(files))

    @given(st.text(alphabet="ab \"'{}#!$=@\\\n~", max_size=60))
    def test_any_text_is_read_or_refused(self, text: str) -> None:
        with contextlib.suppress(ConfigError):
            parse(text, "k", "lb1")


class TestAdvertInterval:
    @pytest.mark.parametrize(
        ("version", "asked", "used_us"),
        [
            (2, "1", 1_000_000),
            (2, "0.4", 1_000_000),
            (2, "1.4", 1_000_000),
            (2, "1.5", 2_000_000),
            (2, "255", 255_000_000),
            (3, "0.1", 100_000),
            (3, "0.01", 10_000),
            (3, "0.014", 10_000),
            (3, "0.015", 20_000),
            (3, "40.95", 40_950_000),
            (3, "41", 40_950_000),
        ],
    )
    def test_it_is_rounded_as_the_version_allows(self, version: int, asked: str, used_us: int) -> None:
        read = config(f"advert_int {asked}", f"vrrp_version {version}")
        assert read.instances[0].advert_interval_us == used_us
        assert bool(read.remarks) == (float(asked) * 1e6 != used_us)

    @pytest.mark.parametrize("asked", ["0", "0.009", "256", "-1", "fast", "1,5"])
    def test_what_keepalived_does_not_take_leaves_the_default(self, asked: str) -> None:
        read = config(f"advert_int {asked}")
        assert read.instances[0].advert_interval_us == 1_000_000
        assert "advert_int" in remarks(read)

    @given(st.integers(1, 25_500))
    def test_a_version_3_interval_of_whole_centiseconds_is_exact(self, centiseconds: int) -> None:
        read = instance(f"advert_int {centiseconds / 100:.2f}", "vrrp_version 3")
        assert read.advert_interval_us == min(centiseconds, 4095) * 10_000


class TestInstance:
    def test_defaults(self) -> None:
        read = instance("")
        assert (read.state, read.priority, read.version, read.family) == ("BACKUP", 100, 2, 4)
        assert (read.garp_master_repeat, read.garp_master_delay_us) == (5, 5_000_000)
        assert (read.garp_lower_prio_repeat, read.garp_lower_prio_delay_us) == (5, 5_000_000)
        assert (read.down_timer_adverts, read.nopreempt, read.preempt_delay_us) == (3, False, 0)

    def test_state_and_priority_imply_each_other(self) -> None:
        assert instance("state MASTER").priority == 255
        assert instance("priority 255").state == "MASTER"
        assert instance("state BACKUP").priority == 100

    @pytest.mark.parametrize(
        ("body", "field", "value", "reason"),
        [
            ("state MASTER\npriority 100\nnopreempt", "nopreempt", False, "initial state is MASTER"),
            ("priority 255\nstate BACKUP\nnopreempt", "nopreempt", False, "priority is 255"),
            ("state MASTER\npriority 100\npreempt_delay 5", "preempt_delay_us", 0, "initial state is MASTER"),
            ("nopreempt\npreempt_delay 5", "preempt_delay_us", 0, "nopreempt"),
            ("timer_expired_backup 120", "timer_expired_backup", 0, "needs nopreempt"),
            ("strict_mode\ndown_timer_adverts 5", "down_timer_adverts", 3, "strict"),
            ("version 3\nauthentication {\nauth_type PASS\nauth_pass x\n}", "authentication", None, "VRRPv3"),
        ],
    )
    def test_contradictions_are_resolved_as_keepalived_does(
        self, body: str, field: str, value: object, reason: str
    ) -> None:
        read = config(body)
        assert getattr(read.instances[0], field) == value
        assert reason in remarks(read)

    def test_nopreempt_and_preempt_delay_are_kept_where_they_count(self) -> None:
        assert instance("state BACKUP\nnopreempt").nopreempt
        assert instance("preempt_delay 2.5").preempt_delay_us == 2_500_000

    def test_globals_are_the_defaults_of_instances(self) -> None:
        globals_ = (
            "vrrp_version 3\nvrrp_down_timer_adverts 5\nvrrp_garp_master_repeat 2\nvrrp_garp_master_delay 7"
        )
        read = instance("", globals_)
        assert (read.version, read.down_timer_adverts) == (3, 5)
        assert (read.garp_master_repeat, read.garp_lower_prio_repeat) == (2, 2)
        assert (read.garp_master_delay_us, read.garp_lower_prio_delay_us) == (7_000_000, 7_000_000)
        assert instance("garp_master_repeat 0", globals_).garp_master_repeat == 1

    def test_vrrp_min_garp_sends_one_and_no_second_set(self) -> None:
        read = instance("", "vrrp_min_garp")
        assert (read.garp_master_repeat, read.garp_master_delay_us) == (1, 0)
        assert instance("", "vrrp_min_garp off").garp_master_repeat == 5

    def test_only_eight_characters_of_a_password_count(self) -> None:
        read = config("authentication {\nauth_type PASS\nauth_pass cluster1_api_vip\n}")
        assert read.instances[0].authentication is not None
        assert read.instances[0].authentication.secret == "cluster1"
        assert "8 characters" in remarks(read)

    def test_addresses_with_their_options(self) -> None:
        body = "virtual_ipaddress_excluded {\n10.0.0.101 dev eth1 label eth1:1\nnonsense\n}"
        read = config(body)
        first, second = read.instances[0].addresses
        assert (first.address, first.prefix, first.device, first.excluded) == ("10.0.0.101", 32, "eth1", True)
        assert (str(second), second.excluded) == ("10.0.0.100/24", False)
        assert "'nonsense' is not an address" in remarks(read)

    def test_ipv6_addresses_make_it_version_3(self) -> None:
        text = "vrrp_instance V {\ninterface e\nvirtual_router_id 1\nvirtual_ipaddress {\nfe80::1/64\n}\n}"
        read = read_keepalived(text).instances[0]
        assert (read.family, read.version) == (6, 3)

    def test_unicast(self) -> None:
        read = instance("unicast_src_ip 10.0.0.11\nunicast_peer {\n10.0.0.12\n@^lb1 10.0.0.13\n}")
        assert (read.source_address, read.unicast_peers, read.unicast) == ("10.0.0.11", ("10.0.0.12",), True)

    def test_unknown_keywords_are_kept(self) -> None:
        read = instance("virtual_routes {\n10.1.0.0/16 via 10.0.0.1\n}\nnotify_master /bin/x")
        assert [s.keyword for s in read.other] == ["virtual_routes", "notify_master"]
        assert read.other[0].block is not None

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            ("vrrp_instance V {\ninterface e\n}", "virtual_router_id must be set"),
            ("vrrp_instance V {\nvirtual_router_id 1\n}", "no interface"),
            ("vrrp_instance {\nvirtual_router_id 1\n}", "must have a name"),
        ],
    )
    def test_what_keepalived_refuses_is_an_error(self, text: str, problem: str) -> None:
        with pytest.raises(ConfigError, match=problem):
            read_keepalived(text)


class TestTracking:
    SCRIPT = (
        "vrrp_script chk {\nscript \"/bin/sh -c '</dev/tcp/127.0.0.1/6443'\"\n"
        "interval 2\nweight %s\nfall 3\n}\n"
    )

    def test_a_script_with_its_timers(self) -> None:
        read = config("track_script {\nchk\n}", blocks=self.SCRIPT % "-20")
        (script,) = read.scripts
        assert script.command == "/bin/sh -c '</dev/tcp/127.0.0.1/6443'"
        assert (script.interval_us, script.timeout_us, script.fall, script.rise) == (
            2_000_000,
            2_000_000,
            3,
            1,
        )

    @pytest.mark.parametrize(
        ("weight", "tracked", "priority"),
        [
            ("0", "chk", 100),
            ("20", "chk", 120),
            ("-20", "chk", 100),
            ("20", "chk weight 5", 105),
            ("20 reverse", "chk", 80),
            ("20 reverse", "chk weight 5 noreverse", 105),
            ("200", "chk", 254),
        ],
    )
    def test_the_effective_priority_while_all_is_well(self, weight: str, tracked: str, priority: int) -> None:
        read = instance(f"track_script {{\n{tracked}\n}}", blocks=self.SCRIPT % weight)
        assert read.healthy_priority == priority

    def test_a_script_defined_below_the_instance_is_not_tracked(self) -> None:
        text = (
            "vrrp_instance V {\ninterface e\nvirtual_router_id 1\ntrack_script {\nchk\n}\n}\n"
            + self.SCRIPT % "0"
        )
        read = read_keepalived(text)
        assert read.instances[0].tracks == ()
        assert "chk is not defined above this line" in remarks(read)

    def test_the_owner_of_the_addresses_ignores_weights(self) -> None:
        read = instance("priority 255\ntrack_script {\nchk\n}", blocks=self.SCRIPT % "20")
        assert (read.tracks, read.healthy_priority) == ((), 255)

    def test_in_a_sync_group_an_instances_own_weight_counts_as_0(self) -> None:
        group = "vrrp_sync_group G {\ngroup {\nVI_1\nVI_9\n}\n}\n"
        read = config("track_script {\nchk\n}", blocks=self.SCRIPT % "20" + group)
        assert (read.instances[0].sync_group, read.instances[0].tracks[0].weight) == ("G", 0)
        assert "no vrrp_instance VI_9" in remarks(read)
        assert "counts as 0" in remarks(read)

    def test_track_process_and_interface(self) -> None:
        blocks = "vrrp_track_process hap {\nprocess haproxy\nweight 10\ndelay 0.5\n}\n"
        read = config("track_process {\nhap\n}\ntrack_interface {\neth1 weight -30\neth2\n}", blocks=blocks)
        assert [(t.kind, t.name, t.weight) for t in read.instances[0].tracks] == [
            ("process", "hap", 10),
            ("interface", "eth1", -30),
            ("interface", "eth2", 0),
        ]
        process = read.process("hap")
        assert process is not None
        assert (process.terminate_delay_us, process.fork_delay_us) == (500_000, 500_000)
