//! The rules of the house on the real tree. The rules, and proof that each can fail, are in
//! `tests/src/tidy.rs`.

use balancer::outcome::Outcome;
use tests::tidy::{Problem, Tree, events, manifests, pages, source};

#[track_caller]
fn check(problems: &[Problem]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn the_tree_is_the_one_we_mean() {
    let tree = Tree::here();
    let sources = tree.rust().count();
    assert!(
        sources > 20 && tree.file("policies/src/lib.rs").is_some(),
        "{sources} in {:?}",
        tree.root
    );
}

#[test]
fn crates_depend_on_each_other_as_the_table_says() {
    check(&manifests::arrows(&Tree::here()));
}

#[test]
fn libraries_stay_where_they_belong() {
    check(&manifests::confined(&Tree::here()));
}

#[test]
fn versions_stand_in_the_root_and_are_used() {
    check(&manifests::versions(&Tree::here()));
}

#[test]
fn every_test_file_is_run() {
    check(&manifests::test_files(&Tree::here()));
}

#[test]
fn files_have_one_topic() {
    check(&source::file_length(&Tree::here()));
}

#[test]
fn functions_fit_a_screen() {
    check(&source::function_length(&Tree::here()));
}

#[test]
fn policies_are_pure() {
    check(&source::purity(&Tree::here()));
}

#[test]
fn files_say_what_is_in_them() {
    check(&source::headers(&Tree::here()));
}

#[test]
fn nothing_is_left_unfinished() {
    check(&source::leftovers(&Tree::here()));
}

#[test]
fn modules_are_named_after_themselves() {
    check(&source::layout(&Tree::here()));
}

#[test]
fn metrics_are_documented_and_documented_metrics_exist() {
    check(&pages::metrics(&Tree::here()));
}

#[test]
fn events_are_documented_and_documented_events_exist() {
    check(&events::events(&Tree::here()));
}

#[test]
fn every_outcome_tells_the_operator_what_to_do() {
    let words: Vec<&str> = Outcome::ALL.into_iter().map(Outcome::word).collect();
    check(&pages::outcomes(&Tree::here(), &words));
}

#[test]
fn every_reason_of_the_access_log_is_explained() {
    check(&pages::reasons(&Tree::here()));
}

#[test]
fn decision_records_are_whole() {
    check(&pages::decisions(&Tree::here()));
}

#[test]
fn examples_are_run_by_tests() {
    check(&pages::examples(&Tree::here()));
}

#[test]
fn links_lead_somewhere() {
    check(&pages::links(&Tree::here()));
}

#[test]
fn the_text_speaks_of_the_project_alone() {
    check(&pages::own_words(&Tree::here()));
}
