//! The wall: no encoder takes a raw event. This file stops to compile when one does.

use postern_engine::event::{Body, Event, Notification, PushEvent, SyslogMessage};

/// Has one implementation for every type, and a second one for what serde can write: then `proof` is ambiguous.
trait NotSerialize<A> {
    fn proof() {}
}
impl<T> NotSerialize<()> for T {}
impl<T: serde::Serialize> NotSerialize<u8> for T {}

/// The same for what prost can write.
trait NotMessage<A> {
    fn proof() {}
}
impl<T> NotMessage<()> for T {}
impl<T: prost::Message> NotMessage<u8> for T {}

#[test]
fn a_raw_event_has_no_encoder() {
    <Event as NotSerialize<_>>::proof();
    <Body as NotSerialize<_>>::proof();
    <Notification as NotSerialize<_>>::proof();
    <PushEvent as NotSerialize<_>>::proof();
    <SyslogMessage as NotSerialize<_>>::proof();
    <Event as NotMessage<_>>::proof();
    <Body as NotMessage<_>>::proof();
    <Notification as NotMessage<_>>::proof();
    <PushEvent as NotMessage<_>>::proof();
    <SyslogMessage as NotMessage<_>>::proof();
}
