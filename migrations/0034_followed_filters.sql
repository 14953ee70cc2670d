-- Sources that follow only those logs of an event that have certain values of indexed arguments.

-- Allowed values by topic: `1=0x…,0x…&2=0x…|3=0x…` is one of two alternatives. Empty where every log of the event is meant.
alter table followed add column filter text not null default '';
