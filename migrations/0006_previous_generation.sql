-- A generation that served is kept beside its successor for requests that still read it. What is neither
-- current nor previous was left by a build that did not finish.

alter table read_model_current add column previous integer references read_model_generations (generation);

create or replace function publish_read_model(generation integer) returns void
    language plpgsql
    as $$
declare
    s text := 'read_model_g' || generation;
    view text;
begin
    insert into read_model_current as pointer (generation) values (publish_read_model.generation)
        on conflict (only_row) do update set generation = excluded.generation, previous = pointer.generation;
    foreach view in array array['call_legs', 'contacts', 'conversations', 'messages'] loop
        execute format('drop view if exists public.%I', view);
        execute format('create view public.%I as select * from %I.%I', view, s, view);
    end loop;
end
$$;

create function drop_read_model(generation integer) returns void
    language plpgsql
    as $$
begin
    execute format('drop schema if exists %I cascade', 'read_model_g' || generation);
    delete from read_model_generations g where g.generation = drop_read_model.generation;
end
$$;
