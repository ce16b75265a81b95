"""The AWS adapters: DynamoDB, SQS, S3 and Cognito behind the ports. Only the composition root knows them."""
