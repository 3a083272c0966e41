-- Twin of sqlite/0005. What gateways ask of keys, by tenant and name. The policy `default` is here only where somebody
-- changed it.

CREATE TABLE check_policies (
    tenant     TEXT   NOT NULL REFERENCES tenants (slug),
    name       TEXT   NOT NULL,
    document   TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (tenant, name)
);

-- A change by SQL reaches verifiers like every other (0003).
CREATE TRIGGER changed_by_hand AFTER INSERT OR UPDATE OR DELETE ON check_policies
    FOR EACH ROW EXECUTE FUNCTION keyreeve_changed_by_hand();
CREATE TRIGGER truncated_by_hand AFTER TRUNCATE ON check_policies
    FOR EACH STATEMENT EXECUTE FUNCTION keyreeve_changed_by_hand();
