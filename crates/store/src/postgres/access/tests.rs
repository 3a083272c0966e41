use super::*;
use std::io::Write as _;
use tokio_postgres::config::ChannelBinding;

fn settled(url: &str) -> DatabaseAccess {
    url.parse().unwrap_or_else(|why| panic!("{url}: {why}"))
}

fn refused(url: &str) -> String {
    url.parse::<DatabaseAccess>()
        .err()
        .unwrap_or_else(|| panic!("{url} is accepted"))
}

fn servers(url: &str) -> Vec<String> {
    settled(url).0.servers.iter().map(ToString::to_string).collect()
}

#[test]
fn a_piece_of_a_password_is_not_printed_as_the_name_of_a_parameter() {
    for text in [
        "host=h user=u dbname=d password=my sesame=x",
        "postgres://h/d?user=u&password=my&sesame=x",
    ] {
        let why = refused(text);
        assert!(why.contains("password") && !why.contains("sesame"), "{why}");
    }
    assert!(refused("postgres://u:p@h/d?sslmoode=require").contains("sslmoode"));
}

#[test]
fn hosts_and_ports_are_paired_as_libpq_pairs_them() {
    for (url, expected) in [
        ("postgres://h/d", &["h:5432"][..]),
        ("postgres://a,b:2,[::1]/d", &["a:5432", "b:2", "[::1]:5432"]),
        ("postgres:///d?host=a,b&port=7", &["a:7", "b:7"]),
        ("postgres://h:1/d?host=other", &["other:1"]),
        ("postgres:///d?host=/tmp,h", &["/tmp", "h:5432"]),
        ("postgres:///d?hostaddr=10.0.0.1", &["10.0.0.1:5432"]),
        ("host=a,b hostaddr=10.0.0.1,10.0.0.2 port=,2", &["a:5432", "b:2"]),
    ] {
        assert_eq!(servers(url), expected, "{url}");
    }
    for url in [
        "postgres://",
        "postgres:///d",
        "postgres://a,,b/d",
        "postgres://h:0/d",
        "postgres://h:65536/d",
        "postgres://h:x/d",
        "postgres://a,b/d?port=1,2,3",
        "postgres://a,b/d?hostaddr=10.0.0.1",
        "postgres://a/d?hostaddr=a",
        &format!("postgres://{}h/d", "h,".repeat(16)),
    ] {
        assert!(!refused(url).is_empty());
    }
}

#[test]
fn modes_have_libpqs_meanings() {
    use Proof::{Chain, Name, Nothing};
    use TlsUse::{Always, IfOffered, Never};
    for (parameters, usage, proof) in [
        ("", IfOffered, Nothing),
        ("sslmode=disable", Never, Nothing),
        ("sslmode=prefer", IfOffered, Nothing),
        ("sslmode=require", Always, Nothing),
        ("sslmode=require&sslrootcert=/ca", Always, Chain),
        ("sslrootcert=/ca", IfOffered, Chain),
        ("sslmode=verify-ca&sslrootcert=/ca", Always, Chain),
        ("sslmode=verify-full", Always, Name),
        ("sslmode=verify-full&sslrootcert=system", Always, Name),
        ("sslrootcert=system", Always, Name),
        ("ssl=true", Always, Nothing),
        ("ssl=false", Never, Nothing),
        ("ssl=true&sslmode=verify-full", Always, Name),
        ("sslaccept=strict", Always, Name),
        ("sslmode=require&sslaccept=strict", Always, Name),
        ("sslaccept=accept_invalid_certs", Always, Nothing),
        ("sslmode=verify-full&sslaccept=accept_invalid_certs", Always, Name),
    ] {
        let access = settled(&format!("postgres://h/d?{parameters}"));
        assert_eq!((access.0.tls.usage, access.0.tls.proof), (usage, proof), "{parameters}");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    for (parameters, named) in [
        ("sslmode=allow", "sslmode"),
        ("sslmode=REQUIRE", "sslmode"),
        ("sslmode=verify-ca", "sslrootcert"),
        ("sslmode=require&sslrootcert=system", "verify-full"),
        ("sslmode=disable&sslrootcert=system", "verify-full"),
        ("sslmode=disable&sslaccept=strict", "sslaccept"),
        ("sslcert=/c", "sslkey"),
        ("sslkey=/k", "sslcert"),
        ("sslnegotiation=direct", "sslmode"),
        (
            "ssl_min_protocol_version=TLSv1.3&ssl_max_protocol_version=TLSv1.2",
            "ssl_min",
        ),
        ("channel_binding=yes", "channel_binding"),
        ("target_session_attrs=standby", "target_session_attrs"),
        ("load_balance_hosts=random", "load_balance_hosts"),
        ("gssencmode=require", "gssencmode"),
        ("client_encoding=LATIN1", "client_encoding"),
        ("connect_timeout=soon", "connect_timeout"),
        ("keepalives=0", "keepalives"),
        ("schema=a;b", "schema"),
    ] {
        let why = refused(&format!("postgres://u:hidden@h/d?{parameters}"));
        assert!(why.contains(named) && !why.contains("hidden"), "{parameters}: {why}");
    }
}

#[test]
fn every_parameter_that_cannot_be_honoured_is_named_at_once() {
    let url =
        "postgres://u:hidden@h/d?pgbouncer=true&connection_limit=1&pool_timeout=0&sslidentity=hid&supa=base&x=hid";
    let why = refused(url);
    for name in ["connection_limit", "pool_timeout", "sslidentity", "supa", "x"] {
        assert!(why.contains(&format!("parameter {name} ")), "{name}: {why}");
    }
    assert!(!why.contains("pgbouncer") && !why.contains("hid"), "{why}");
}

#[test]
fn an_unknown_parameter_is_named_and_nothing_else_of_the_url() {
    let why = refused("postgres://u:hidden@h/k?sslmodus=require");
    assert!(why.contains("parameter sslmodus"), "{why}");
    for url in [
        "postgres://u:hidden@h/k?hid%20den=1",
        "postgres://u:hidden@h:x/k",
        "postgres://u:hidden@h/k?port=hidden",
        "postgres://u:hid/den@h/k?x=1",
        "postgres://u:1/hid?den=@h/k",
    ] {
        assert!(!refused(url).contains("hid"), "{}", refused(url));
    }
}

#[test]
fn parameters_that_people_paste_are_honoured() {
    let prisma = settled("postgresql://u:p@h/d?schema=app&pgbouncer=true&sslaccept=strict");
    assert_eq!(prisma.0.options.as_deref(), Some("-c search_path=\"app\""));
    let jdbc = settled(
        "postgresql://h/d?ssl=true&prepareThreshold=0&ApplicationName=x&currentSchema=app&targetServerType=primary",
    );
    assert_eq!(jdbc.0.application, "x");
    assert!(jdbc.0.needs_writable);
    let neon = settled("postgresql://u:p@h/d?sslmode=require&channel_binding=require&options=endpoint%3Dep-x");
    assert_eq!(neon.0.binding, ChannelBinding::Require);
    assert_eq!(neon.0.options.as_deref(), Some("endpoint=ep-x"));
    assert_eq!(settled("postgres://h/d").0.application, "keyreeve");
}

#[test]
fn times_are_only_shortened() {
    for (parameters, connect_ms, idle_s) in [
        ("", 1_200, 3),
        ("connect_timeout=10&keepalives_idle=60", 1_200, 3),
        ("connect_timeout=1&keepalives_idle=2", 1_000, 2),
        ("connect_timeout=0&keepalives_idle=-1", 1_200, 3),
        ("keepalives=1", 1_200, 3),
    ] {
        let facts = settled(&format!("postgres://h/d?{parameters}")).0;
        let expected = (Duration::from_millis(connect_ms), Duration::from_secs(idle_s));
        assert_eq!((facts.connect_timeout, facts.keepalive.idle), expected, "{parameters}");
    }
}

#[test]
fn of_several_servers_one_that_accepts_writes_is_looked_for() {
    for (url, needs_writable) in [
        ("postgres://a/d", false),
        ("postgres://a,b/d", true),
        ("postgres://a,b/d?target_session_attrs=any", false),
        ("postgres://a/d?target_session_attrs=read-write", true),
        ("postgres://a/d?target_session_attrs=primary", true),
    ] {
        assert_eq!(settled(url).0.needs_writable, needs_writable, "{url}");
    }
}

#[test]
fn what_leaves_the_machine_has_to_be_encrypted_and_verified() {
    use NetworkExposure::{None, Unencrypted, Unverified};
    for (url, exposure) in [
        ("postgres://u@db.example/k", Unencrypted),
        ("postgres://u@10.0.0.1/k?sslmode=prefer", Unencrypted),
        ("postgres://u@localhost/k", None),
        ("postgres://u@127.0.0.1:5433/k", None),
        ("postgres://u@[::1]/k", None),
        ("postgres:///k?host=/run/postgresql", None),
        ("postgres://u@localhost,db.example/k", Unencrypted),
        ("postgres://u@db.example/k?hostaddr=127.0.0.1", None),
        ("postgres://u@db.example/k?sslmode=require", Unverified),
        (
            "postgres://u@db.example/k?sslmode=verify-ca&sslrootcert=/ca",
            Unverified,
        ),
        ("postgres://u@db.example/k?sslmode=verify-full", None),
    ] {
        assert_eq!(settled(url).exposure(), exposure, "{url}");
    }
}

#[test]
fn a_setting_and_the_url_may_agree_and_not_differ() {
    let given = |mode: &str| GivenAccess {
        url: Some("postgres://u:hidden@h/d?sslmode=require".to_owned()),
        parameters: vec![("sslmode", mode.to_owned())],
        ..GivenAccess::default()
    };
    assert!(given("require").settle().is_ok());
    let why = given("verify-full").settle().err().unwrap();
    assert!(why.contains("database-sslmode") && !why.contains("hidden"), "{why}");
}

#[test]
fn the_url_may_be_in_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let given = |path: &Path| GivenAccess {
        url_file: Some(path.to_owned()),
        ..GivenAccess::default()
    };
    let why = given(file.path()).settle().err().unwrap();
    assert!(why.contains("is empty"), "{why}");
    writeln!(file, "postgres://u:p@h/d").unwrap();
    assert!(given(file.path()).settle().is_ok());
    let both = GivenAccess {
        url: Some("postgres://h/d".to_owned()),
        ..given(file.path())
    };
    assert!(both.settle().err().unwrap().contains("one of them"));
    assert!(
        given(Path::new("/nonexistent"))
            .settle()
            .err()
            .unwrap()
            .contains("/nonexistent")
    );
    assert!(
        given(Path::new("/dev/zero"))
            .settle()
            .err()
            .unwrap()
            .contains("regular")
    );
}

#[test]
fn a_password_comes_from_one_place() {
    let with_command = GivenAccess {
        url: Some("postgres://u:hidden@h/d".to_owned()),
        password_command: Some("echo x".to_owned()),
        ..GivenAccess::default()
    };
    assert!(
        with_command
            .settle()
            .err()
            .unwrap()
            .contains("database-password-command")
    );
    let environment = LoginEnvironment {
        password: Some("variable".to_owned()),
        passfile: None,
        home: Some("/home/x".into()),
    };
    let password = |url: &str| {
        let given = GivenAccess {
            url: Some(url.to_owned()),
            environment: environment.clone(),
            ..GivenAccess::default()
        };
        given.settle().unwrap().0.login.clone()
    };
    assert_eq!(password("postgres://u:url@h/d").password.as_deref(), Some("url"));
    assert_eq!(password("postgres://u@h/d").password.as_deref(), Some("variable"));
    assert_eq!(
        password("postgres://u@h/d").passfile.as_deref(),
        Some(Path::new("/home/x/.pgpass"))
    );
    assert_eq!(
        password("postgres://u@h/d?passfile=/p").passfile.as_deref(),
        Some(Path::new("/p"))
    );
}
