//! Adds a user to a document's list, or extends the entry that is meant. Pure.

use ipnet::IpNet;
use postern_protocol::revision::intake::User;

use super::BindError;

/// Whether a list differs from what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    /// It says what it said.
    No,
    /// It does not.
    Yes,
}

/// Binds `new`: an entry of its name and keys gets its engines and sources; without one, it becomes an entry, and no other entry of
/// its name keeps its engines.
pub(super) fn bind(users: &mut Vec<User>, new: &User) -> Result<Changed, BindError> {
    let before = users.clone();
    match meant(users, new)? {
        Some(at) if at < users.len() => {
            let mut entry = users.remove(at);
            extend(&mut entry, new);
            let at = users.iter().take(at).filter(|other| !loses_all(other, new)).count();
            users.retain_mut(|other| keeps(other, new));
            users.insert(at, entry);
        }
        _ => {
            // Before the others of its name, which may be for any engine.
            let at = users.iter().position(|entry| entry.name == new.name).unwrap_or(users.len());
            users.retain_mut(|other| keeps(other, new));
            users.insert(at.min(users.len()), new.clone());
        }
    }
    Ok(if *users == before { Changed::No } else { Changed::Yes })
}

/// The entry that `new` extends; `None` when it is one of its own.
fn meant(users: &[User], new: &User) -> Result<Option<usize>, BindError> {
    let named = || users.iter().enumerate().filter(|(_, entry)| entry.name == new.name);
    if new.auth.is_some() {
        return Ok(named().find(|(_, entry)| entry.auth == new.auth && entry.privacy == new.privacy).map(|(at, _)| at));
    }
    let of_engine = named().find(|(_, entry)| new.engines.iter().any(|engine| has_engine(entry, engine)));
    match (of_engine, named().count()) {
        (Some((at, _)), _) => Ok(Some(at)),
        (None, 0) => Ok(None),
        (None, 1) => Ok(named().next().map(|(at, _)| at)),
        (None, _) => Err(BindError::Ambiguous(new.name.clone())),
    }
}

/// An entry for any engine stays one, and one for any source, too.
fn extend(entry: &mut User, new: &User) {
    if !entry.engines.is_empty() {
        for engine in &new.engines {
            if !has_engine(entry, engine) {
                entry.engines.push(engine.clone());
            }
        }
    }
    if !entry.sources.is_empty() {
        for source in &new.sources {
            if !covers(&entry.sources, source) {
                entry.sources.push(source.clone());
            }
        }
    }
    if new.minimum_level.is_some() {
        entry.minimum_level = new.minimum_level;
    }
}

/// Takes the engines of `new` from another entry of its name; one that loses its last engine would be one for any engine, so it goes.
fn keeps(entry: &mut User, new: &User) -> bool {
    if loses_all(entry, new) {
        return false;
    }
    if entry.name == new.name {
        entry.engines.retain(|engine| !has_engine(new, engine));
    }
    true
}

fn loses_all(entry: &User, new: &User) -> bool {
    entry.name == new.name && !entry.engines.is_empty() && entry.engines.iter().all(|engine| has_engine(new, engine))
}

fn has_engine(user: &User, engine: &str) -> bool {
    user.engines.iter().any(|one| one.eq_ignore_ascii_case(engine))
}

fn covers(networks: &[String], source: &str) -> bool {
    let Ok(source) = source.parse::<IpNet>() else { return networks.iter().any(|network| network == source) };
    networks.iter().any(|network| network.parse::<IpNet>().is_ok_and(|network| network.contains(&source)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> User {
        serde_json::from_str(text).unwrap()
    }

    fn names(users: &[User]) -> Vec<(usize, usize)> {
        users.iter().map(|user| (user.engines.len(), user.sources.len())).collect()
    }

    const KEYS: &str = r#""auth":{"algorithm":"sha-256","secret":"a"}"#;
    const OTHER: &str = r#""auth":{"algorithm":"sha-512","secret":"b"}"#;

    #[test]
    fn one_click_binds_engine_and_source_to_a_user_that_exists() {
        let mut users = vec![user(&format!(r#"{{"name":"u","engines":["8000000001"],"sources":["10.0.0.0/24"],{KEYS}}}"#))];
        let click = user(r#"{"name":"u","engines":["8000000002"],"sources":["10.0.1.9/32"]}"#);
        assert_eq!(bind(&mut users, &click).unwrap(), Changed::Yes);
        assert_eq!(names(&users), [(2, 2)]);
        assert_eq!(bind(&mut users, &click).unwrap(), Changed::No);
        let near = user(r#"{"name":"u","engines":["8000000002"],"sources":["10.0.0.7/32"]}"#);
        assert_eq!(bind(&mut users, &near).unwrap(), Changed::No, "its network holds the address already");
    }

    #[test]
    fn an_entry_for_any_engine_or_any_source_stays_one() {
        let mut users = vec![user(&format!(r#"{{"name":"u","sources":["10.0.0.0/24"],{KEYS}}}"#))];
        bind(&mut users, &user(r#"{"name":"u","engines":["8000000002"],"sources":["10.0.1.9/32"]}"#)).unwrap();
        assert_eq!(names(&users), [(0, 2)]);
    }

    #[test]
    fn other_keys_make_an_entry_of_their_own_and_take_its_engine_from_the_others() {
        let mut users = vec![user(&format!(r#"{{"name":"u","engines":["8000000001","8000000002"],{KEYS}}}"#))];
        bind(&mut users, &user(&format!(r#"{{"name":"u","engines":["8000000002"],{OTHER}}}"#))).unwrap();
        assert_eq!(users.iter().map(|user| user.engines.clone()).collect::<Vec<_>>(), [["8000000002"], ["8000000001"]]);
        bind(&mut users, &user(&format!(r#"{{"name":"u","engines":["8000000001"],{OTHER}}}"#))).unwrap();
        assert_eq!(users.len(), 1, "an entry without engines would be one for any");
    }

    #[test]
    fn a_name_with_several_keys_is_not_guessed() {
        let mut users = vec![
            user(&format!(r#"{{"name":"u","engines":["8000000001"],{KEYS}}}"#)),
            user(&format!(r#"{{"name":"u","engines":["8000000002"],{OTHER}}}"#)),
        ];
        let refused = bind(&mut users, &user(r#"{"name":"u","engines":["8000000003"]}"#));
        assert!(matches!(refused, Err(BindError::Ambiguous(_))));
        assert_eq!(bind(&mut users, &user(r#"{"name":"u","engines":["8000000002"]}"#)).unwrap(), Changed::No);
    }
}
