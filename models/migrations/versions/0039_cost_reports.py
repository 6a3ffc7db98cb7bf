"""Cost reports: drafts that are adjusted, and what was issued, which nothing changes."""

from alembic import op

from models.migrations.isolation import isolate

revision = "0039"
down_revision = "0038"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE cost_reports (
    tenant_id text NOT NULL REFERENCES tenants,
    report_id uuid NOT NULL,
    status text NOT NULL CHECK (status IN ('draft', 'issued')),
    terms jsonb NOT NULL,
    adjustments jsonb NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL,
    issued_by text,
    issued_at timestamptz,
    totals jsonb,
    document text,
    sha256 text,
    PRIMARY KEY (tenant_id, report_id),
    CHECK ((status = 'issued') = (num_nulls(issued_by, issued_at, totals, document, sha256) = 0)),
    CHECK (sha256 = encode(sha256(convert_to(document, 'UTF8')), 'hex'))
)
"""

# Whoever may change drafts must not be able to forge or to change what is issued, nor to change what a draft is about.
FREEZE = """
CREATE FUNCTION public.freeze_cost_report() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status <> 'draft' THEN
            RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'a cost report begins as a draft';
        END IF;
        RETURN NEW;
    END IF;
    IF OLD.status = 'issued' THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'an issued cost report does not change';
    END IF;
    IF (NEW.tenant_id, NEW.report_id, NEW.terms, NEW.created_by, NEW.created_at)
        IS DISTINCT FROM (OLD.tenant_id, OLD.report_id, OLD.terms, OLD.created_by, OLD.created_at) THEN
        RAISE EXCEPTION USING ERRCODE = '42501', MESSAGE = 'only the adjustments of a cost report change';
    END IF;
    RETURN NEW;
END
$$
"""
TRIGGER = """
CREATE TRIGGER freeze_cost_report BEFORE INSERT OR UPDATE ON cost_reports
FOR EACH ROW EXECUTE FUNCTION public.freeze_cost_report()
"""


def upgrade() -> None:
    """Makes the table, isolates it, and freezes what is issued."""
    op.execute(TABLE)
    op.execute("CREATE INDEX cost_reports_by_time ON cost_reports (tenant_id, created_at DESC, report_id DESC)")
    op.execute(FREEZE)
    op.execute("REVOKE ALL ON FUNCTION public.freeze_cost_report() FROM PUBLIC")
    op.execute(TRIGGER)
    isolate("cost_reports", "UPDATE")


def downgrade() -> None:
    """Takes it back."""
    op.execute("DROP TABLE cost_reports")
    op.execute("DROP FUNCTION public.freeze_cost_report()")
