-- +goose Up

-- minimum is the oldest version of this schema whose programs may still run against it. A migration that takes
-- something away from them raises it; one that only adds leaves it alone.
create table processor.compatibility (
  single  boolean primary key default true check (single),
  minimum bigint  not null
);
insert into processor.compatibility (minimum) values (1);

-- sweep says when a sweep was last done, by any replica: nobody else can tell a deployment in which nothing is to be recovered from one in
-- which nobody looks.
create table processor.sweep (
  single   boolean     primary key default true check (single),
  swept_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
insert into processor.sweep default values;

-- A beat is an update of one of these rows every half second. No index has a column that a beat changes, and half of
-- each page is left free, so that beats stay on their page (HOT) and vacuum has little to do.
create table processor.workers (
  started_at   timestamptz not null default now(),
  heartbeat_at timestamptz not null default now(),
  lost_at      timestamptz,
  pid          integer     not null,
  slots        integer     not null check (slots >= 0),
  running      integer     not null default 0 check (running >= 0),
  draining     boolean     not null default false,
  id           text        collate "C" primary key,
  name         text        not null,
  host         text        not null,
  build        text        not null,
  lost_cause   text        check (lost_cause in ('gone', 'age')),
  constraint lost_has_a_cause check ((lost_at is null) = (lost_cause is null))
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- What a chat's status says about its other columns. The server parses, plans and compiles the expression of a check anew for every statement,
-- which took longer than the rest of a small update; the plan of a function is kept.
-- +goose StatementBegin
create function processor.chat_is_possible(status text, worker_id text, claimed_at timestamptz, retry_at timestamptz, dispatch_at timestamptz,
  idle_at timestamptz, last_error jsonb, version bigint, epoch bigint, void_epoch bigint, turn integer, step integer, interrupt_turn integer,
  queued integer, attempts integer, takeovers integer, recoveries integer, dispatches integer, digest bytea) returns boolean
  language plpgsql immutable parallel safe as $$
begin
  return case status
    when 'waiting' then idle_at is not null and num_nulls(worker_id, claimed_at, retry_at, dispatch_at, last_error) = 5 and queued = 0 and interrupt_turn = 0
    when 'pending' then dispatch_at is not null and num_nulls(worker_id, claimed_at, idle_at, last_error) = 4 and turn > 0
    when 'running' then num_nonnulls(worker_id, claimed_at) = 2 and num_nulls(dispatch_at, idle_at, last_error) = 3 and turn > 0 and epoch > 0
    when 'error'   then num_nonnulls(idle_at, last_error) = 2 and num_nulls(worker_id, claimed_at, retry_at, dispatch_at) = 4 and turn > 0 and interrupt_turn = 0
    else false end
    and least(version, epoch, void_epoch, turn, step, queued, attempts, takeovers, dispatches) >= 0
    and takeovers <= recoveries and interrupt_turn in (0, turn) and (void_epoch = 0 or void_epoch < epoch) and (retry_at is null or attempts > 0)
    and octet_length(digest) = 32;
end $$;
-- +goose StatementEnd

-- +goose StatementBegin
create function processor.message_is_possible(role text, finish text, turn integer, step integer, client_id text, error jsonb, parts jsonb)
  returns boolean language plpgsql immutable parallel safe as $$
begin
  return turn > 0 and jsonb_typeof(parts) = 'array' and (finish = 'error') = (error is not null) and case role
    when 'user'      then step = 0 and client_id is not null and finish = ''
    when 'assistant' then step > 0 and client_id is null and finish in ('', 'stop', 'length', 'interrupted', 'error')
    when 'tool'      then step > 0 and client_id is null and finish = ''
    else false end;
end $$;
-- +goose StatementEnd

-- The columns of fixed width come first. number is never used again, so what belonged to a deleted chat can never
-- reach the one that was made later under its id.
--
-- Only status, its owner and the times by which the sweeper and the retention look for rows are indexed, each for the rows in that
-- status alone: a million idle chats cost recovery nothing. A commit changes none of them and stays on its page (HOT).
create table processor.chats (
  number         bigint      generated always as identity primary key,
  version        bigint      not null default 1,
  epoch          bigint      not null default 0,
  void_epoch     bigint      not null default 0,
  created_at     timestamptz not null default now(),
  updated_at     timestamptz not null default now(),
  claimed_at     timestamptz,
  retry_at       timestamptz,
  dispatch_at    timestamptz,
  idle_at        timestamptz,
  turn           integer     not null default 0,
  step           integer     not null default 0,
  interrupt_turn integer     not null default 0,
  queued         integer     not null default 0,
  attempts       integer     not null default 0,
  takeovers      integer     not null default 0,
  recoveries     integer     not null default 0,
  dispatches     integer     not null default 0,
  status         text        not null,
  id             text        collate "C" not null unique,
  worker_id      text        collate "C",
  digest         bytea       not null,
  tenant         text        collate "C" not null default '',
  title          text        not null default '',
  model          text        not null default '',
  last_error     jsonb,
  metadata       jsonb       not null default '{}',
  system         text        not null default '',
  constraint a_status_has_its_columns check (processor.chat_is_possible(status, worker_id, claimed_at, retry_at, dispatch_at, idle_at, last_error, version,
    epoch, void_epoch, turn, step, interrupt_turn, queued, attempts, takeovers, recoveries, dispatches, digest))
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_scale_factor = 0.05);

create index chats_pending on processor.chats (dispatch_at) where status = 'pending';
create index chats_running on processor.chats (worker_id) include (number, epoch) where status = 'running';
create index chats_parked  on processor.chats (number) where status = 'error';
create index chats_idle    on processor.chats (idle_at) where idle_at is not null;
create index chats_tenant  on processor.chats (tenant, number) where tenant <> '';

-- A message is only written by a statement that holds its chat's row, so a foreign key would ask again what is known, and lock the row once
-- more, for every message. A trigger deletes what a deleted chat leaves behind.
--
-- id is one sequence for all chats; the key starts with the chat because every read does. size is the length of parts
-- as they were written, so that the history's budget is judged without reading parts. chunks are uvarints: a third of
-- an int[], which would be as large as the text. forgotten_at is of a user message, and means its turn: who asks for that by its number is told
-- that it is no more, while the history stays whole. As a null it takes no space.
create table processor.messages (
  chat       bigint      not null,
  id         bigint      generated always as identity,
  epoch      bigint      not null,
  created_at timestamptz not null default now(),
  turn       integer     not null,
  step       integer     not null,
  size       integer     not null,
  role       text        not null,
  finish     text        not null default '',
  model      text        not null default '',
  client_id  text        collate "C",
  usage      jsonb,
  params     jsonb,
  error      jsonb,
  chunks     bytea,
  parts      jsonb       not null,
  forgotten_at timestamptz,
  primary key (chat, id),
  constraint a_role_has_its_columns check (processor.message_is_possible(role, finish, turn, step, client_id, error, parts))
);
create unique index messages_client_id on processor.messages (chat, client_id) where client_id is not null;

-- +goose StatementBegin
create function processor.forget_messages() returns trigger language plpgsql as $$
declare
  chat_number bigint;
begin
  for chat_number in select g.number from gone g loop
    delete from processor.messages m where m.chat = chat_number; -- a join would be planned by how long the other chats are
  end loop;
  return null;
end $$;
-- +goose StatementEnd
create trigger forget_messages after delete on processor.chats referencing old table as gone for each statement execute function processor.forget_messages();

create table processor.queued_messages (
  chat       bigint      not null references processor.chats (number) on delete cascade,
  id         bigint      generated always as identity,
  created_at timestamptz not null default now(),
  size       integer     not null,
  client_id  text        collate "C" not null,
  model      text        not null default '',
  params     jsonb,
  parts      jsonb       not null check (jsonb_typeof(parts) = 'array'),
  primary key (chat, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
create unique index queued_messages_client_id on processor.queued_messages (chat, client_id);
