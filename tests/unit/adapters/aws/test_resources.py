"""The template as the adapters read it: every name and attribute, and what is refused."""

from __future__ import annotations

import json

import pytest

from receiptd.adapters.aws import resources
from receiptd.adapters.aws.template import Declaration, Reference, Template
from receiptd.domain.errors import ConfigurationError

PLACE = resources.Place(region="eu-central-1", account="123456789012")


def test_the_tables_have_the_keys_that_the_ledger_writes():
    found = resources.load("shop", ["tax"], PLACE)
    assert found.receipts.name == "shop-receipts"
    assert list(found.receipts.key.items()) == [("c", "HASH"), ("r", "RANGE")]
    assert found.receipts.attributes == {"c": "S", "r": "S"}
    assert found.receipts.ttl == "x"
    assert found.receipts.restorable
    assert found.receipts.protected
    assert (found.contracts.name, found.contracts.key, found.contracts.ttl) == ("shop-contracts", {"c": "HASH"}, "")


@pytest.mark.parametrize(
    ("queue", "name"),
    [
        ("recovery", "shop-recovery"),
        ("webhooks", "shop-webhooks"),
        ("jobs", "shop-jobs"),
        ("registrar.tax", "shop-registrar-tax"),
        ("registrar.warehouse", "shop-registrar-warehouse"),
    ],
)
def test_every_queue_has_a_queue_of_dead_letters(queue, name):
    found = resources.load("shop", ["tax", "warehouse"], PLACE)
    assert found.queue_name(queue) == name
    assert found.dead_queue_name(queue) == f"{name}-dlq"
    attributes = {each.name: each.attributes for each in found.queues}
    assert json.loads(attributes[name]["RedrivePolicy"]) == {
        "deadLetterTargetArn": f"arn:aws:sqs:eu-central-1:123456789012:{name}-dlq",
        "maxReceiveCount": 100,
    }
    assert "RedrivePolicy" not in attributes[f"{name}-dlq"]
    for each in (name, f"{name}-dlq"):
        assert attributes[each]["MessageRetentionPeriod"] == "1209600"
        assert attributes[each]["SqsManagedSseEnabled"] == "true"
        assert attributes[each]["VisibilityTimeout"] == "60"


def test_a_queue_comes_after_that_of_its_dead_letters():
    names = [queue.name for queue in resources.load("shop", ["tax"], PLACE).queues]
    assert len(names) == 8
    assert all(names.index(f"{name}-dlq") < names.index(name) for name in names if not name.endswith("-dlq"))


def test_bucket_and_pool():
    found = resources.load("shop", [], PLACE)
    assert found.bucket.name == "shop-exports-123456789012-eu-central-1"
    assert found.bucket.expire_days == 7
    assert set(found.bucket.blocked.values()) == {True}
    assert (found.pool.name, found.pool.server, found.pool.domain) == ("shop", "receipts", "shop-123456789012")
    assert set(found.pool.scopes) == {"read", "write"}


def test_a_registrar_without_a_queue_is_refused():
    found = resources.load("shop", ["tax"], PLACE)
    with pytest.raises(ConfigurationError, match=r"no queue registrar\.customs"):
        found.queue_name("registrar.customs")
    with pytest.raises(ConfigurationError, match="no queue recovery-dlq"):
        found.queue_name("recovery-dlq")


def test_an_id_that_cannot_be_a_logical_id_is_refused():
    with pytest.raises(ConfigurationError, match="registrar tax-eu: on AWS"):
        resources.load("shop", ["tax-eu"], PLACE)


def test_a_prefix_that_the_template_does_not_allow_is_refused():
    with pytest.raises(ConfigurationError, match="Prefix cannot be 'Shop'"):
        resources.load("Shop", [], PLACE)


def template(tmp_path, text, **parameters):
    path = tmp_path / "template.yaml"
    path.write_text(text)
    return Template(path, parameters, {"AWS::Region": "eu-central-1"})


def test_loops_references_and_defaults_are_resolved(tmp_path):
    read = template(
        tmp_path,
        """
        Parameters:
          Names: {Type: CommaDelimitedList, Default: "a, b"}
          Days: {Type: Number, Default: 3}
        Resources:
          Fn::ForEach::Outer:
            - Name
            - !Ref Names
            - Fn::ForEach::Inner:
                - Kind
                - [x, y]
                - "${Name}${Kind}":
                    Type: T
                    Properties: {Text: !Sub "${Name}-${Kind}-${AWS::Region}", Days: !Ref Days, Raw: "${Name}"}
          Last: {Type: U, Properties: {Arn: !GetAtt ax.Arn, Other: !GetAtt [!Sub "a${None}", Arn], Whole: !Ref by}}
        """.replace("${None}", "y"),
    ).declarations()
    assert list(read) == ["ax", "ay", "bx", "by", "Last"]
    assert read["by"] == Declaration("T", {"Text": "b-y-eu-central-1", "Days": 3, "Raw": "${Name}"})
    assert read["Last"].properties == {
        "Arn": Reference("ax", "Arn"),
        "Other": Reference("ay", "Arn"),
        "Whole": Reference("by"),
    }


@pytest.mark.parametrize(
    ("resource", "complaint"),
    [
        ("{Type: T, Properties: {A: {'Fn::If': [a, b, c]}}}", "Fn::If is not understood"),
        ("{Type: T, Properties: {A: !Join ['', [a]]}}", "!Join"),
        ("{Type: T, Properties: {A: !Ref Nobody}}", "nothing is called Nobody"),
        ("{Type: T, Properties: {A: !Sub '${Nobody}'}}", "nothing is called Nobody"),
        ("{Type: T, Properties: {A: !Sub '${R}'}}", "has no value as text"),
        ("{Type: T, Properties: {A: !GetAtt Nobody.Arn}}", "there is no resource Nobody"),
        ("{Type: T, Properties: {A: {'Fn::Sub': [a, {}]}}}", "Fn::Sub is not understood in this form"),
        ("{Type: T, Properties: {A: !Ref [a]}}", "understood of text only"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, resource, complaint):
    with pytest.raises(ConfigurationError, match=r"template.yaml") as refused:
        template(tmp_path, f"Resources: {{R: {resource}}}").declarations()
    assert complaint in str(refused.value)


def test_a_parameter_needs_a_value_and_a_name(tmp_path):
    with pytest.raises(ConfigurationError, match="needs a value for P"):
        template(tmp_path, "{Parameters: {P: {Type: String}}, Resources: {}}")
    with pytest.raises(ConfigurationError, match="no parameter Q"):
        template(tmp_path, "{Parameters: {}, Resources: {}}", Q="1")


def test_a_looped_id_with_other_characters_is_refused(tmp_path):
    text = "{Resources: {'Fn::ForEach::L': [N, [a-b], {'R${N}': {Type: T}}]}}"
    with pytest.raises(ConfigurationError, match="Ra-b is no logical id"):
        template(tmp_path, text).declarations()


def test_a_property_that_provisioning_would_not_make_is_refused(tmp_path, monkeypatch):
    text = resources.template_path().read_text()
    changed = tmp_path / "data.yaml"
    monkeypatch.setattr(resources, "template_path", lambda: changed)
    for there, instead, complaint in (
        ("BillingMode: PAY_PER_REQUEST", "BillingMode: PROVISIONED", "'PROVISIONED' is not understood"),
        (
            "      BillingMode: PAY",
            "      TableClass: STANDARD\n      BillingMode: PAY",
            "TableClass is not understood",
        ),
        ("Domain: !Sub", "Extra: 1\n      Domain: !Sub", "UserPoolDomain: Extra is not understood"),
    ):
        changed.write_text(text.replace(there, instead, 1))
        with pytest.raises(ConfigurationError, match=complaint):
            resources.load("shop", ["tax"], PLACE)
