//! Environment variables as the VM of the filter will see them, and what that means for secrets.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Which variables a VM sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum VmEnvironment {
    /// Nothing is known about the VM: a plugin configuration alone.
    Unknown,
    /// What the file gives to the VM.
    Known {
        /// Taken over from the proxy's environment.
        from_host: Vec<String>,
        /// Written in the file: they land in the config dump.
        in_file: Vec<(String, String)>,
    },
}

/// Answers the questions of a compilation and remembers them.
pub(crate) struct Lookup<'a> {
    vm: &'a VmEnvironment,
    process: &'a dyn Fn(&str) -> Option<String>,
    asked: RefCell<Asked>,
}

/// What a configuration asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Visible to the VM, but not set where this check runs.
    pub(crate) unset: BTreeSet<String>,
    /// Not visible to the VM: neither in `host_env_keys` nor in `key_values`.
    pub(crate) invisible: BTreeSet<String>,
    /// Written in the file.
    pub(crate) in_file: BTreeSet<String>,
}

impl<'a> Lookup<'a> {
    pub(crate) fn new(vm: &'a VmEnvironment, process: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            vm,
            process,
            asked: RefCell::default(),
        }
    }

    /// The value; a placeholder where there is none, different for each name, so that reading goes on.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        let mut asked = self.asked.borrow_mut();
        if let VmEnvironment::Known { from_host, in_file } = self.vm {
            if let Some((_, value)) = in_file.iter().find(|(n, _)| n == name) {
                asked.in_file.insert(name.to_owned());
                return Some(value.clone());
            }
            if !from_host.iter().any(|n| n == name) {
                asked.invisible.insert(name.to_owned());
                return Some(placeholder(name));
            }
        }
        let value = (self.process)(name);
        if value.is_none() {
            asked.unset.insert(name.to_owned());
        }
        Some(value.unwrap_or_else(|| placeholder(name)))
    }

    pub(crate) fn asked(self) -> Asked {
        self.asked.into_inner()
    }
}

/// Errors about a placeholder are left out of the report (`Asked::is_placeholder`), so any text will do.
fn placeholder(name: &str) -> String {
    format!("placeholder-of-the-unset-variable-{name}")
}

impl Asked {
    /// Whether the variable had no value, so that nothing can be said about its content.
    pub(crate) fn is_placeholder(&self, name: &str) -> bool {
        self.unset.contains(name) || self.invisible.contains(name)
    }
}
