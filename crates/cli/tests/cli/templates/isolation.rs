//! What a machine does stays in it: neither another one nor the template they all came from has any of it.

use crate::own_templates::OwnTemplates;
use crate::sdk::{self, block_on, prepared};
use crate::{DEBIAN, sh};
use pyro::StartKind;
use pyro::vm::Throwaway;
use pyro_testkit::data_of;
use std::fs;

/// Every kind of file system there is in a guest.
const FILES: &str = "/workspace/trace /etc/trace /tmp/trace /dev/shm/trace /run/trace";

#[test]
fn machines_at_once_do_not_see_each_others_files() {
    let (home, pyro) = prepared();
    block_on(async {
        let first = Throwaway::create(&pyro, DEBIAN, 1, 1024).await.unwrap();
        let second = Throwaway::create(&pyro, DEBIAN, 1, 1024).await.unwrap();
        for (machine, name) in [(&first, "first"), (&second, "second")] {
            assert_eq!(machine.start(), StartKind::Warm);
            // Written before the other one looks, and read again after the other one has written.
            let write =
                format!("for file in {FILES}; do test ! -e $file && echo {name} >$file || exit 1; done");
            assert_eq!(machine.exec(&["sh", "-c", &write]).await.unwrap(), (0, String::new()), "{name}");
        }
        for (machine, name) in [(&first, "first\n"), (&second, "second\n")] {
            let (_, read) = machine.exec(&["sh", "-c", &format!("cat {FILES}")]).await.unwrap();
            assert_eq!(read, name.repeat(5));
        }
        first.delete().await;
        second.delete().await;
    });
    assert!(home.machines().is_empty());
}

/// What a machine finds: files, but for those that are too many to be listed fast, and what the kernel keeps.
const LIST: &str = "
    find / -xdev -path /usr/share -prune -o -path /usr/lib -prune -o -printf '%p %m %U %s %y\n' | sort
    ls -A /dev/shm /run; df --output=used /dev/shm /run; sysctl -n kernel.domainname vm.swappiness";

/// Memory, disk, the image's own files, and what the kernel keeps.
const WRITE: &str = "
    dd if=/dev/urandom of=/workspace/data bs=1M count=16
    dd if=/dev/zero of=/dev/shm/data bs=1M count=256
    echo broken >/usr/bin/git; echo root::0:0::/:/bin/sh >/etc/passwd
    rm -r /usr/share/perl* /etc/apt /var/lib; mkdir /left; touch /run/left
    sysctl -w kernel.domainname=left vm.swappiness=7
    sync; echo 3 >/proc/sys/vm/drop_caches; echo done";

#[test]
fn nothing_that_a_machine_writes_reaches_the_template() {
    let templates = OwnTemplates::copied();
    let content = || ["ram", "state", "disk"].map(|kind| data_of(&templates.file(kind)));
    let list = || {
        let listed = sh(&templates, &["--json"], LIST).run().expect(0).json();
        assert_eq!(listed["start"], "warm", "{listed}");
        listed["stdout"].as_str().unwrap().to_owned()
    };
    let (before, pristine) = (content(), list());
    let wrote = sh(&templates, &["--json", "--timeout-seconds", "60"], WRITE).run().expect(0).json();
    assert_eq!((&wrote["start"], &wrote["exit_code"]), (&"warm".into(), &0.into()), "{wrote}");
    assert!(wrote["stdout"].as_str().is_some_and(|text| text.ends_with("done\n")), "{wrote}");
    // Not `assert_eq`: it would print a hundred megabytes.
    assert!(content() == before, "the template has changed");
    assert_eq!(list(), pristine);
    templates.expect_one_template();
}

#[test]
fn a_machine_outlives_the_template_that_it_came_from() {
    let templates = OwnTemplates::copied();
    let pyro = sdk::of(&templates);
    block_on(async {
        let mut machine = Throwaway::create(&pyro, DEBIAN, 1, 1024).await.unwrap();
        assert_eq!(machine.start(), StartKind::Warm);
        for file in templates.files() {
            fs::remove_file(templates.templates().join(file)).unwrap();
        }
        // What no rehearsal has run comes from memory that the machine has not touched yet.
        let (exit_code, printed) = machine.exec(&["perl", "-e", "print 6 * 7"]).await.unwrap();
        assert_eq!((exit_code, printed.as_str()), (0, "42"));
        machine.reset().await.unwrap();
        assert_eq!(machine.start(), StartKind::Cold);
        assert!(machine.cold_start_reason().is_some_and(|reason| reason.contains("there is no template")));
        machine.delete().await;
    });
    assert!(templates.machines().is_empty());
}
