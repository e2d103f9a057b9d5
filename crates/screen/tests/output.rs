//! Output of programs, and what a person sees of it.

use pyro_screen::{MAX_INPUT_BYTES, MAX_TEXT_BYTES, Rendered, Resize, render};

fn shown(bytes: &[u8]) -> String {
    let Rendered { text, alternate_screen, simplified } = render(bytes, 80, 24, &[]);
    assert!(!alternate_screen && !simplified);
    text
}

#[test]
fn lines() {
    for (bytes, expected) in [
        ("", ""),
        ("\r\n\r\n", ""),
        ("one\r\ntwo  \r\n\r\nthree\r\n", "one\ntwo\n\nthree"),
        ("a\tb\tc\r\n\tindented", "a       b       c\n        indented"),
        ("abc\x08\x08X", "aXc"),
        ("passwort\x08 \x08d", "password"),
        ("50%\r100%\r\n", "100%"),
        ("long line\rshort\x1b[K\r\n", "short"),
        ("bell\x07 and null\0", "bell and null"),
        ("only\nline feeds", "only\n    line feeds"),
        ("\x1b[1;31merror\x1b[0m: \x1b[38;2;1;2;3mcolour\x1b[m", "error: colour"),
        ("\x1b]0;user@host: ~\x07$ ls", "$ ls"),
        ("\x1b]8;;https://example.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(0lqqk\x1b(B", "┌──┐"),
        ("ab\x1b[2Dx\x1b[1@y", "xyb"),
        ("1\r\n2\r\n3\x1b[1A\x1b[Mx", "1\n3x"),
    ] {
        assert_eq!(shown(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

#[test]
fn characters() {
    for (bytes, expected) in [
        ("界\x08\x08x".as_bytes(), "x"),
        ("世界\r\x1b[2Cx".as_bytes(), "世x"),
        ("👩\u{200d}💻 ok\r\x1b[4C!".as_bytes(), "👩\u{200d}💻!ok"),
        ("e\u{301}te\u{301}\r\x1b[3C.".as_bytes(), "e\u{301}te\u{301}."),
        ("e\u{301}\rx".as_bytes(), "x"),
        ("cafe\x1b[1m\u{301}\x1b[m".as_bytes(), "cafe\u{301}"),
        (b"caf\xe9\r\n", "caf\u{fffd}"),
        (b"\xa9 begun before", " begun before"),
        (b"not ended \xe7\x95", "not ended"),
        ("taken \u{100000}".as_bytes(), "taken \u{fffd}"),
        (b"sequence not ended\x1b[38;5", "sequence not ended"),
        (b"title not ended\x1b]0;title", "title not ended"),
        ("e".as_bytes(), "e"),
    ] {
        assert_eq!(shown(bytes), expected, "{bytes:?}");
    }
}

#[test]
fn progress() {
    let pip = "Downloading x-1.0.whl (1.2 MB)\r\n\
        \x1b[?25l   \x1b[38;5;237m━━━━━━━━━━\x1b[0m \x1b[32m0.0/1.2 MB\x1b[0m \x1b[31m?\x1b[0m eta \x1b[36m-:--:--\x1b[0m\
        \r\x1b[2K   \x1b[38;2;249;38;114m━━━━━\x1b[0m\x1b[38;5;237m╺━━━━\x1b[0m \x1b[32m0.6/1.2 MB\x1b[0m\
        \r\x1b[2K   \x1b[38;2;114;156;31m━━━━━━━━━━\x1b[0m \x1b[32m1.2/1.2 MB\x1b[0m\r\n\x1b[?25hInstalling\r\n";
    assert_eq!(shown(pip.as_bytes()), "Downloading x-1.0.whl (1.2 MB)\n   ━━━━━━━━━━ 1.2/1.2 MB\nInstalling");
    let cargo = "\x1b[1m\x1b[32m   Compiling\x1b[0m libc v0.2.1\r\n\
        \x1b[1m\x1b[36m    Building\x1b[0m [=>        ] 1/9: libc\r\x1b[K\
        \x1b[1m\x1b[32m   Compiling\x1b[0m cfg-if v1.0.0\r\n\
        \x1b[1m\x1b[36m    Building\x1b[0m [====>     ] 4/9: cfg-if\r\x1b[K\
        \x1b[1m\x1b[32m    Finished\x1b[0m `dev` profile\r\n";
    assert_eq!(
        shown(cargo.as_bytes()),
        "   Compiling libc v0.2.1\n   Compiling cfg-if v1.0.0\n    Finished `dev` profile"
    );
    // apt keeps a bar in the last row, below a scrolling region.
    let apt = "\x1b7\x1b[0;23r\x1b8\x1b[1A\x1b7\x1b[24;0f\x1b[42m\x1b[30mProgress: [ 10%]\x1b[49m\x1b[39m [##...] \x1b8\
        Unpacking a ...\r\n\x1b7\x1b[24;0f\x1b[42m\x1b[30mProgress: [ 90%]\x1b[49m\x1b[39m [####.] \x1b8\
        Setting up a ...\r\n\x1b7\x1b[0;24r\x1b8\x1b[1A\x1b[J\r\n$ ";
    assert_eq!(shown(apt.as_bytes()), "Unpacking a ...\n\n$");
}

#[test]
fn prompts() {
    let bash = "\x1b[?2004h\x1b]0;root@box: /\x07\x1b[01;32mroot@box\x1b[00m:\x1b[01;34m/\x1b[00m# echo hk\x08\x1b[Ki\r\n\
        \x1b[?2004l\rhi\r\n\x1b[?2004hroot@box:/# ";
    assert_eq!(shown(bash.as_bytes()), "root@box:/# echo hi\nhi\nroot@box:/#");
    // readline goes back in history: it deletes, and writes again.
    assert_eq!(shown(b"$ make test\x08\x08\x08\x08\x1b[4Pall\r\nok"), "$ make all\nok");
    let sized = render(b"$ 0123456789\r\x1b[C\x1b[C\x1b[4Pabc", 8, 4, &[]);
    assert_eq!(sized.text, "$ 01234567abc");
}

#[test]
fn what_was_cleared_stays() {
    assert_eq!(shown(b"before\r\n$ clear\r\n\x1b[H\x1b[2J\x1b[3J$ after"), "before\n$ clear\n$ after");
    assert_eq!(shown(b"before\r\n\x1bcafter"), "before\nafter");
    assert_eq!(shown(b"load 1\r\nload 2\x1b[H\x1b[Jload 3"), "load 3");
}

#[test]
fn full_screen_programs() {
    let vim = b"$ vim x\r\n\x1b[?1049h\x1b[22;0;0t\x1b[?1h\x1b=\x1b[1;24r\x1b[H\x1b[2Jtext\r\n~\r\n~\x1b[24;1H\"x\" 1L, 5B";
    let open = render(vim, 80, 24, &[]);
    assert!(open.alternate_screen);
    assert_eq!(open.text, format!("$ vim x\ntext\n~\n~{}\"x\" 1L, 5B", "\n".repeat(21)));
    let closed = [vim.as_slice(), b"\x1b[24;1H\x1b[K\x1b[?1l\x1b>\x1b[?1049l$ "].concat();
    assert_eq!(shown(&closed), "$ vim x\n$");
    let less =
        b"$ less f\r\n\x1b[?1049h\x1b[?1h\x1b=\rline 1\x1b[m\r\nline 2\x1b[m\r\n\x1b[7m(END)\x1b[27m\x1b[K";
    assert_eq!(render(less, 80, 24, &[]).text, "$ less f\n\nline 1\nline 2\n(END)");
    // It began before the range.
    assert_eq!(shown(b"\x1b[Htext\r\n~\x1b[3;1H\x1b[K\x1b[?1049l$ ls"), "text\n~\n$ ls");
}

#[test]
fn lines_end_where_programs_end_them() {
    let long = "0123456789".repeat(30);
    assert_eq!(shown(format!("{long}\r\n{long}").as_bytes()), format!("{long}\n{long}"));
    let resizes = [
        Resize { offset: 90, cols: 20, rows: 5 },
        Resize { offset: 95, cols: 0, rows: u16::MAX },
        Resize { offset: 302, cols: 133, rows: 24 },
        Resize { offset: 1 << 40, cols: 2, rows: 2 },
    ];
    let rendered = render(format!("{long}\r\n{long}").as_bytes(), 80, 24, &resizes);
    assert_eq!(rendered.text, format!("{long}\n{long}"));
    let scrolled: Vec<String> = (0..500).map(|number| format!("line {number}")).collect();
    assert_eq!(shown(scrolled.join("\r\n").as_bytes()), scrolled.join("\n"));
}

#[test]
fn of_too_much_the_end_is_there() {
    let mut bytes = b"first\r\n".repeat(MAX_INPUT_BYTES / 7);
    bytes.extend_from_slice(b"last");
    let rendered = render(&bytes, 80, 24, &[Resize { offset: 3, cols: 40, rows: 10 }]);
    assert!(rendered.text.ends_with("first\nlast") && rendered.text.len() <= MAX_INPUT_BYTES);
    assert!(!rendered.simplified);
}

/// Sequences of a few bytes that mean all the work there can be. Each would take minutes or hours.
#[test]
fn bombs() {
    for (name, bomb) in [
        ("repeat", "x\x1b[65535b"),
        ("repeat, and lines", "x\x1b[999b\r\n"),
        ("far to the right", "\x1b[999Cx\r\n"),
        ("clear", "\x1b[2J"),
        ("clear what is full", "x\x1b[999b\x1b[2J"),
        ("align", "\x1b#8"),
        ("reset", "\x1bc"),
        ("screens", "\x1b[?1049h\x1b[?1049l"),
        ("many screens", "\x1b[?1047;1047;1047;1047h\x1b[?1047;1049;1047l"),
        ("insert lines", "\x1b[H\x1b[999L"),
        ("delete lines", "\x1b[5;400r\x1b[5H\x1b[999M"),
        ("scroll", "\x1b[999S\x1b[999T"),
        ("scroll within", "\x1b[1;400r\x1b[999S"),
        ("insert", "\x1b[4hx\r"),
        ("insert characters", "\r\x1b[500@"),
        ("tabs", "\x1b[999I\x1b[999Z"),
        ("lines", "\n"),
        ("wide", "\x1b[999C界"),
        ("marks", "e\u{301}\u{302}\u{303}"),
        ("parameters", "\x1b[1;2;3;4;5;6;7;8;9;10;11;12;13;14;15;16;17;18;19;20m"),
    ] {
        let bytes = bomb.repeat((MAX_INPUT_BYTES >> 2) / bomb.len());
        for (cols, rows) in [(120, 30), (u16::MAX, u16::MAX), (2, 500)] {
            let rendered = render(format!("{bytes}\r\nend").as_bytes(), cols, rows, &[]);
            assert!(rendered.text.len() <= MAX_TEXT_BYTES + 1, "{name}");
            assert!(rendered.text.contains("end") || rendered.alternate_screen || cols == 2, "{name}");
        }
    }
    let resizes: Vec<_> = (0..100_000)
        .map(|number| Resize { offset: number, cols: if number % 2 == 0 { 1000 } else { 2 }, rows: 500 })
        .collect();
    let text = "x".repeat(100_000);
    assert!(render(text.as_bytes(), 80, 24, &resizes).simplified);
}
