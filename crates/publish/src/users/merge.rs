//! Merges two records of one person.

use super::UserError;
use chainflume_db::transaction::Tx;

/// Gives `own` what `other` has, and makes the id `other` another id of `own`. The values of `own` stay; what it does not have
/// comes from `other`.
///
/// Every table with a reference to `application_users` has its line here, or its rows would be deleted with `other`.
pub(super) async fn merge(tx: &mut Tx, own: &str, other: &str) -> Result<(), UserError> {
    for sql in [
        r"
        update application_users a set email = coalesce(a.email, b.email), phone = coalesce(a.phone, b.phone),
            locale = coalesce(a.locale, b.locale), zone = coalesce(a.zone, b.zone)
        from application_users b where a.id = $1 and b.id = $2
        ",
        r"
        insert into user_devices (user_id, kind, token, added_at)
        select $1, d.kind, d.token, d.added_at from user_devices d where d.user_id = $2
        on conflict on constraint user_devices_pkey do nothing
        ",
        "update user_wallets set user_id = $1 where user_id = $2",
        "update user_aliases set user_id = $1 where user_id = $2",
        r"
        insert into user_alerts (user_id, chain_id, token, side, amount, after_seq)
        select $1, l.chain_id, l.token, l.side, l.amount, l.after_seq from user_alerts l where l.user_id = $2
        on conflict on constraint user_alerts_pkey do nothing
        ",
        // A reorg may still undo what was published about either.
        "update limit_crossings set user_id = $1 where user_id = $2",
        "with gone as (delete from application_users where id = $2) insert into user_aliases (alias, user_id) select $2, $1",
    ] {
        sqlx::query(sql).bind(own).bind(other).execute(&mut **tx).await?;
    }
    Ok(())
}
