//! Who may take part in an object, as its creator decides.

use std::fmt;

use super::wire::{Reader, Writer};

/// Who may take part in an object: to publish and to subscribe are separate rights.
///
/// Sending, serving and writing need the right to publish; receiving, calling and reading the right to subscribe;
/// taking part in what all members change (queues, events, locks, arenas) needs both. The creator's user and root always
/// have both. The kernel says who a peer is; what a peer says of itself does not matter.
///
/// Who may subscribe to a topic may not hold up its publishers: see
/// [`waits_for`](crate::topic::PublisherOptions::waits_for).
///
/// Users other than the creator's also need to reach the name: see [`Name`](crate::Name).
///
/// ```
/// use tieline_shm::{Access, Allowed};
///
/// let readable = Access::owner().subscribe(Allowed::Anyone);
/// assert_ne!(readable, Access::default());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    publish: Allowed,
    subscribe: Allowed,
}

/// Who has a right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Allowed {
    /// The creator's user, and root.
    #[default]
    Owner,
    /// Also the members of this group, by its number; supplementary membership counts.
    Group(u32),
    /// Also these users; at most [`Access::USERS_MAX`].
    Users(Vec<u32>),
    /// Every user who can reach the name.
    Anyone,
}

/// What a member wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Right {
    Publish,
    Subscribe,
    Both,
}

/// A user who asks, as the kernel says.
#[derive(Clone, Debug)]
pub(crate) struct Applicant {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

impl Access {
    /// The most users that [`Allowed::Users`] may list.
    pub const USERS_MAX: usize = 64;

    /// The creator's user alone, and root: the default.
    #[must_use]
    pub fn owner() -> Self {
        Self::default()
    }

    /// The access that a file of these permission bits gives: who may read may subscribe, who may write may publish.
    ///
    /// The group is the effective group of this process.
    ///
    /// ```
    /// use tieline_shm::{Access, Allowed};
    ///
    /// assert_eq!(Access::from_mode(0o644), Some(Access::owner().subscribe(Allowed::Anyone)));
    /// assert_eq!(Access::from_mode(0o604), None); // All but the group cannot be told.
    /// ```
    ///
    /// `None` for bits that have no such meaning: with execution or beyond `0o777`, without both rights for the user, or
    /// with a right for others that the group has not.
    #[must_use]
    pub fn from_mode(bits: u32) -> Option<Self> {
        let (user, group, others) = (bits >> 6, bits >> 3 & 7, bits & 7);
        if user != 0o6 || (group | others) & 1 != 0 || others & !group != 0 {
            return None;
        }
        let allowed = |right: u32| match (group & right != 0, others & right != 0) {
            (_, true) => Allowed::Anyone,
            (true, false) => Allowed::Group(rustix::process::getegid().as_raw()),
            (false, false) => Allowed::Owner,
        };
        Some(Self::owner().subscribe(allowed(0o4)).publish(allowed(0o2)))
    }

    /// Who may publish.
    #[must_use]
    pub fn publish(mut self, allowed: Allowed) -> Self {
        self.publish = allowed;
        self
    }

    /// Who may subscribe.
    #[must_use]
    pub fn subscribe(mut self, allowed: Allowed) -> Self {
        self.subscribe = allowed;
        self
    }

    /// Whether nobody but the owner and root has any right.
    pub(crate) fn is_owner_only(&self) -> bool {
        self.publish == Allowed::Owner && self.subscribe == Allowed::Owner
    }

    pub(crate) fn has_too_many_users(&self) -> bool {
        let too_many = |allowed: &Allowed| matches!(allowed, Allowed::Users(users) if users.len() > Self::USERS_MAX);
        too_many(&self.publish) || too_many(&self.subscribe)
    }

    /// Whether `applicant` has the right in an object that `owner` created.
    pub(crate) fn grants(&self, right: Right, applicant: &Applicant, owner: u32) -> bool {
        let has = |allowed: &Allowed| applicant.uid == owner || applicant.uid == 0 || allowed.includes(applicant);
        match right {
            Right::Publish => has(&self.publish),
            Right::Subscribe => has(&self.subscribe),
            Right::Both => has(&self.publish) && has(&self.subscribe),
        }
    }

    /// Whom it lets have both rights in an object of `owner`, in words.
    pub(super) fn sharers(&self, owner: u32) -> String {
        let known = if owner == 0 { "user 0".to_owned() } else { format!("users {owner} and 0") };
        match (&self.publish, &self.subscribe) {
            (Allowed::Owner, _) | (_, Allowed::Owner) => known,
            (publish, subscribe) if publish == subscribe => format!("{known} and {publish}"),
            (Allowed::Anyone, some) | (some, Allowed::Anyone) => format!("{known} and {some}"),
            (publish, subscribe) => format!("{known} and who is of {publish} and of {subscribe}"),
        }
    }

    pub(super) fn write(&self, to: &mut Writer) {
        self.publish.write(to);
        self.subscribe.write(to);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self { publish: Allowed::read(from)?, subscribe: Allowed::read(from)? })
    }
}

impl Allowed {
    fn includes(&self, applicant: &Applicant) -> bool {
        match self {
            Self::Owner => false,
            Self::Group(group) => applicant.gid == *group || applicant.groups.contains(group),
            Self::Users(users) => users.contains(&applicant.uid),
            Self::Anyone => true,
        }
    }

    fn write(&self, to: &mut Writer) {
        match self {
            Self::Owner => to.u8(0),
            Self::Group(group) => {
                to.u8(1);
                to.u32(*group);
            }
            Self::Users(users) => {
                to.u8(2);
                to.u8(u8::try_from(users.len()).unwrap_or(u8::MAX));
                users.iter().for_each(|user| to.u32(*user));
            }
            Self::Anyone => to.u8(3),
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        match from.u8()? {
            0 => Some(Self::Owner),
            1 => from.u32().map(Self::Group),
            2 => {
                let count = usize::from(from.u8()?);
                if count > Access::USERS_MAX {
                    return None;
                }
                (0..count).map(|_| from.u32()).collect::<Option<_>>().map(Self::Users)
            }
            3 => Some(Self::Anyone),
            _ => None,
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner => f.write_str("the owner"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Users(users) => {
                let numbers = users.iter().map(ToString::to_string).collect::<Vec<_>>();
                write!(f, "users {}", numbers.join(", "))
            }
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32) -> Applicant {
        Applicant { uid, gid: uid, groups: vec![50] }
    }

    #[test]
    fn the_owner_and_root_always_may_and_others_as_the_rule_says() {
        let rule = Access::owner().publish(Allowed::Users(vec![7, 8])).subscribe(Allowed::Group(50));
        for uid in [0, 1000] {
            assert!(rule.grants(Right::Both, &user(uid), 1000));
        }
        assert!(rule.grants(Right::Both, &user(7), 1000));
        assert!(!rule.grants(Right::Publish, &user(9), 1000));
        assert!(rule.grants(Right::Subscribe, &user(9), 1000), "by a supplementary group");
        assert!(rule.grants(Right::Subscribe, &Applicant { uid: 9, gid: 50, groups: vec![] }, 1000));
        assert!(!rule.grants(Right::Both, &user(9), 1000));
        assert!(!Access::owner().grants(Right::Subscribe, &user(9), 1000));
        assert!(Access::owner().subscribe(Allowed::Anyone).grants(Right::Subscribe, &user(9), 1000));
    }

    #[test]
    fn who_may_share_is_told_in_words() {
        let users = || Allowed::Users(vec![7, 8]);
        let told = |publish, subscribe, owner| Access::owner().publish(publish).subscribe(subscribe).sharers(owner);
        assert_eq!(told(Allowed::Owner, Allowed::Anyone, 0), "user 0");
        assert_eq!(told(users(), users(), 5), "users 5 and 0 and users 7, 8");
        assert_eq!(told(Allowed::Anyone, Allowed::Group(3), 0), "user 0 and group 3");
        assert_eq!(told(Allowed::Anyone, Allowed::Anyone, 0), "user 0 and anyone");
        assert_eq!(told(users(), Allowed::Group(3), 0), "user 0 and who is of users 7, 8 and of group 3");
    }

    #[test]
    fn a_rule_survives_the_wire() {
        let rules = [
            Access::owner(),
            Access::owner().publish(Allowed::Group(3)).subscribe(Allowed::Anyone),
            Access::owner().publish(Allowed::Users((0..64).collect())),
        ];
        for rule in rules {
            let mut writer = Writer::default();
            rule.write(&mut writer);
            assert_eq!(Access::read(&mut Reader::new(writer.as_bytes())), Some(rule));
        }
        assert_eq!(Access::read(&mut Reader::new(&[2, 65])), None, "more users than allowed");
        assert_eq!(Access::read(&mut Reader::new(&[0, 4])), None, "an unknown rule");
    }
}
