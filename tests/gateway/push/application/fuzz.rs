//! `make fuzz-api`: requests that schemathesis makes up from `/openapi.json`, as a service and as a user.

use super::*;

/// Where `make fuzz-api` installs it.
const SCHEMATHESIS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/schemathesis/bin/schemathesis");

/// Asks for half a minute at most. Requests are the same in each run.
async fn fuzz(gate: &Gate, bearer: &str) -> (bool, String) {
    let (address, header) =
        (format!("http://127.0.0.1:{}/openapi.json", gate.port), format!("Authorization: {bearer}"));
    let mut command = Command::new(SCHEMATHESIS);
    command.args(["run", &*address, "--no-color", "--header", &*header, "--warnings", "off"]);
    command.args(["--phases", "coverage,fuzzing", "--generation-deterministic", "--continue-on-failure"]);
    command.args(["--max-examples", "20", "--max-time", "30", "--request-timeout", "10", "--checks", "all"]);
    // What is refused for another reason than its shape, a key that another body has for instance, is no fault.
    command.args(["--exclude-checks", "positive_data_acceptance"]);
    // Answers without an end.
    for path in ["/v1/ws", "/v1/stream", "/v1/status/stream"] {
        command.args(["--exclude-path", path]);
    }
    let found = command.output().await.expect("make fuzz-api installs schemathesis");
    let text = [found.stdout, found.stderr].concat();
    (found.status.success(), String::from_utf8_lossy(&text).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "made by `make fuzz-api`, which installs schemathesis"]
async fn made_up_requests_get_answers_that_the_document_has() {
    let (mut gate, bearer) = gate(86, "", "\"read\", \"publish\", \"admin\"").await;
    gate.tables =
        format!("requests_per_second = 100000\nrequests_per_second_per_address = 100000\n{}", gate.tables);
    gate.write(&gate.home, gate.port);
    let daemon = gate.start().await;
    for bearer in [bearer, user("u7")] {
        let (is_fine, found) = fuzz(&gate, &bearer).await;
        assert!(is_fine, "{found}");
        eprintln!("{found}");
    }
    daemon.stop_well().await;
}
