use libtest_mimic::Trial;
pub(crate) fn add_to(_: &mut Vec<Trial>) {}
