-- Addresses, hashes and other bytes of the typed views take text: `where buyer = '0x…'` finds the rows, by the index.

-- A bare text beside `bytea` is taken for its letters, so such a comparison found nothing and did not fail. A domain of its own
-- decides which operator a text without a type goes to: PostgreSQL assumes that it is of the domain too (manual, 10.2, 2a). The
-- operators are written out by the planner, and what remains is a comparison of the column with a constant. A list (`in`) is compared
-- rightly too, but without the index.
create domain evm_address as bytea;
create domain evm_hash as bytea;
create domain evm_bytes as bytea;

comment on domain evm_address is 'An address, 20 bytes; compares with text in 0x form';
comment on domain evm_hash is 'A hash, 32 bytes; compares with text in 0x form';
comment on domain evm_bytes is 'Bytes; compares with text in 0x form';

-- Bytes of this length as they are; the letters of their 0x form as the bytes that they stand for; an error for anything else.
-- A length of 0 allows every length.
create function evm_value(bytea, length int)
returns bytea
language plpgsql
immutable strict parallel safe
as $$
declare
    letters text;
begin
    if substring($1 from 1 for 2) = '0x'::bytea and (length = 0 or octet_length($1) <> length) then
        letters := encode($1, 'escape');
        if letters ~* '^0x([0-9a-f]{2})*$' and (length = 0 or octet_length($1) = 2 + 2 * length) then
            return decode(substr(letters, 3), 'hex');
        end if;
    elsif length in (0, octet_length($1)) then
        return $1;
    end if;
    raise exception '"%" has not % bytes in 0x form', encode($1, 'escape'), case length when 0 then 'whole' else length::text end
        using errcode = 'invalid_text_representation', hint = 'Write 0x and two hexadecimal digits for each byte.';
end
$$;

-- Whether bytes are of this length; an error where they are not: a text on the left side of a comparison.
create function evm_is_value(bytea, length int)
returns boolean
language plpgsql
immutable parallel safe
as $$
begin
    if length > 0 and octet_length($1) <> length or length = 0 and substring($1 from 1 for 2) = '0x'::bytea then
        raise exception '"%" is a text on the left side of a comparison', encode($1, 'escape')
            using errcode = 'invalid_text_representation', hint = 'Write the column on the left side and the text on the right.';
    end if;
    return true;
end
$$;

do $$
declare
    type record;
begin
    for type in values ('evm_address', 20), ('evm_hash', 32), ('evm_bytes', 0) loop
        execute format($body$
            create function evm_equal(%1$I, %1$I) returns boolean language sql immutable parallel safe
                return $1::bytea = evm_value($2::bytea, %2$s) and evm_is_value($1::bytea, %2$s);
            create function evm_equal(%1$I, bytea) returns boolean language sql immutable parallel safe
                return $1::bytea = evm_value($2, %2$s);
            create function evm_equal(bytea, %1$I) returns boolean language sql immutable parallel safe
                return evm_value($1, %2$s) = $2::bytea;
            create function evm_differ(%1$I, %1$I) returns boolean language sql immutable parallel safe
                return $1::bytea <> evm_value($2::bytea, %2$s) and evm_is_value($1::bytea, %2$s);
            create function evm_differ(%1$I, bytea) returns boolean language sql immutable parallel safe
                return $1::bytea <> evm_value($2, %2$s);
            create function evm_differ(bytea, %1$I) returns boolean language sql immutable parallel safe
                return evm_value($1, %2$s) <> $2::bytea;
            create operator = (leftarg = %1$I, rightarg = %1$I, function = evm_equal);
            create operator = (leftarg = %1$I, rightarg = bytea, function = evm_equal);
            create operator = (leftarg = bytea, rightarg = %1$I, function = evm_equal);
            create operator <> (leftarg = %1$I, rightarg = %1$I, function = evm_differ);
            create operator <> (leftarg = %1$I, rightarg = bytea, function = evm_differ);
            create operator <> (leftarg = bytea, rightarg = %1$I, function = evm_differ);
        $body$, type.column1, type.column2);
    end loop;
end
$$;
